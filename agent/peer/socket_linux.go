package peer

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// States of the kernel's include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// A socketInfo is one row of the kernel's socket tables.
type socketInfo struct {
	ends
	state uint8
	uid   uint32
	inode uint32
}

// Sizes and offsets of linux/inet_diag.h and linux/netlink.h.
const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	nlHeader         = unix.SizeofNlMsghdr
	diagRequest      = 56 // struct inet_diag_req_v2
	diagID           = 8  // offset of struct inet_diag_sockid in it
	diagAnswer       = 72 // struct inet_diag_msg
	diagAnswerID     = 4
	diagAnswerUID    = 64
	diagAnswerInode  = 68
	loopbackIndex    = 1
)

// diagSocket asks the kernel for the one TCP socket with these ends. It is the
// exact query, not a dump: a dump costs time for every socket of the machine,
// filters by port only, and leaves out IPv6 sockets that speak IPv4. Such a
// query may answer with a listener of the local port, so the ends of the answer
// are compared. A socket that is not there is errAbsent; so is a kernel without
// sock_diag, which answers alike.
func diagSocket(e ends) (socketInfo, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return socketInfo{}, fmt.Errorf("%w: netlink: %w", errAbsent, err)
	}
	defer unix.Close(fd)
	// The kernel answers within the send; the limit is for the one that does not.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, diagQuery(e), 0, kernel); err != nil {
		return socketInfo{}, fmt.Errorf("%w: netlink: %w", errAbsent, err)
	}
	buf := make([]byte, os.Getpagesize())
	n, from, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return socketInfo{}, fmt.Errorf("%w: netlink: %w", errAbsent, err)
	}
	// Any process may send to a netlink socket; only the kernel has port 0.
	if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
		return socketInfo{}, fmt.Errorf("%w: netlink answer is not from the kernel", errAbsent)
	}
	sk, err := parseDiag(buf[:n])
	if err != nil {
		return socketInfo{}, err
	}
	if sk.ends != e {
		return socketInfo{}, errAbsent
	}
	return sk, nil
}

// diagQuery is the message that asks for the socket with these ends.
func diagQuery(e ends) []byte {
	ne, be := binary.NativeEndian, binary.BigEndian
	b := make([]byte, nlHeader+diagRequest)
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)

	q := b[nlHeader:]
	q[0] = unix.AF_INET6
	if e.local.Addr().Is4() {
		q[0] = unix.AF_INET // finds IPv6 sockets that speak IPv4 as well
	}
	q[1] = unix.IPPROTO_TCP
	ne.PutUint32(q[4:], ^uint32(0)) // all states

	id := q[diagID:]
	be.PutUint16(id[0:], e.local.Port())
	be.PutUint16(id[2:], e.remote.Port())
	copy(id[4:20], e.local.Addr().AsSlice())
	copy(id[20:36], e.remote.Addr().AsSlice())
	// Clients on loopback use this device, which has this number in every kernel
	// (LOOPBACK_IFINDEX in include/net/flow.h). Without it a client that has bound
	// itself to the device, as any user may, would cost the slow way.
	ne.PutUint32(id[36:], loopbackIndex)
	ne.PutUint64(id[40:], ^uint64(0)) // no cookie
	return b
}

// parseDiag reads the kernel's answer to [diagQuery].
func parseDiag(b []byte) (socketInfo, error) {
	ne := binary.NativeEndian
	if len(b) < nlHeader || int64(ne.Uint32(b)) < nlHeader || int64(ne.Uint32(b)) > int64(len(b)) {
		return socketInfo{}, fmt.Errorf("%w: short netlink answer", errAbsent)
	}
	switch typ, m := ne.Uint16(b[4:]), b[nlHeader:]; {
	case typ == unix.NLMSG_ERROR && len(m) >= 4:
		errno := unix.Errno(-int32(ne.Uint32(m)))
		return socketInfo{}, fmt.Errorf("%w: netlink: %w", errAbsent, errno)
	case typ != sockDiagByFamily || len(m) < diagAnswer:
		return socketInfo{}, fmt.Errorf("%w: netlink answer of type %d", errAbsent, typ)
	default:
		id := m[diagAnswerID:]
		size := 16
		if m[0] == unix.AF_INET {
			size = 4
		}
		return socketInfo{
			ends:  ends{networkOrder(id[4:4+size], id[0:]), networkOrder(id[20:20+size], id[2:])},
			state: m[1],
			uid:   ne.Uint32(m[diagAnswerUID:]),
			inode: ne.Uint32(m[diagAnswerInode:]),
		}, nil
	}
}

// procSocket finds the first TCP socket that is meant in /proc/net/tcp or, for IPv6
// sockets that may speak IPv4, in /proc/net/tcp6. It costs some milliseconds
// on a busy machine.
func procSocket(is func(socketInfo) bool) (socketInfo, error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 in this kernel, or no /proc
		}
		if err != nil { // such as no file descriptor that is free
			return socketInfo{}, fmt.Errorf("%w: %w", errAbsent, err)
		}
		sk, err := findTCP(f, is)
		_ = f.Close()
		if err == nil {
			return sk, nil
		}
	}
	return socketInfo{}, errAbsent
}

// findTCP reads a table up to the first row that is meant.
func findTCP(r io.Reader, is func(socketInfo) bool) (socketInfo, error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if sk, err := parseTCP(lines.Text()); err == nil && is(sk) {
			return sk, nil
		}
	}
	return socketInfo{}, errAbsent
}

// Listener returns the process that listens at a TCP address of this machine, on that or
// on every interface: of another user the UID only. UID is -1 when there is none, or
// it cannot be told. It is for people to read, not to decide on.
func Listener(address netip.AddrPort) Peer {
	sk, err := procSocket(func(s socketInfo) bool { return s.listensAt(address) })
	switch {
	case err != nil:
		return Peer{UID: -1}
	case int(sk.uid) != os.Geteuid():
		return Peer{UID: int(sk.uid)} // not to be searched for, see Identify
	}
	s, id := newSearch(), identity{uid: int(sk.uid), inode: sk.inode}
	return s.describe(id, s.holder(id, process{}))
}

func (s socketInfo) listensAt(address netip.AddrPort) bool {
	ip := s.local.Addr()
	return s.state == tcpListen && s.local.Port() == address.Port() && (ip == address.Addr().Unmap() || ip.IsUnspecified())
}

var errTCPRow = errors.New("not a row of the TCP table")

// parseTCP reads one row of /proc/net/tcp or tcp6, whose form is in the
// kernel's Documentation/networking/proc_net_tcp.rst. The heading is an error.
func parseTCP(row string) (socketInfo, error) {
	// sl local remote st tx:rx tr:when retrnsmt uid timeout inode …
	f := strings.Fields(row)
	if len(f) < 10 {
		return socketInfo{}, errTCPRow
	}
	local, err1 := parseEnd(f[1])
	remote, err2 := parseEnd(f[2])
	state, err3 := strconv.ParseUint(f[3], 16, 8)
	uid, err4 := strconv.ParseUint(f[7], 10, 32)
	inode, err5 := strconv.ParseUint(f[9], 10, 32)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return socketInfo{}, fmt.Errorf("%w: %w", errTCPRow, err)
	}
	return socketInfo{
		ends: ends{local, remote}, state: uint8(state), uid: uint32(uid), inode: uint32(inode),
	}, nil
}

// parseEnd reads ADDRESS:PORT in hexadecimal. The kernel prints an address as
// words of 32 bits in the order of the machine.
func parseEnd(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, errTCPRow
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), nil
}
