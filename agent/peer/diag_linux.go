package peer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

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
func diagSocket(local, remote netip.AddrPort) (socketInfo, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return socketInfo{}, fmt.Errorf("%w: netlink: %w", errAbsent, err)
	}
	defer unix.Close(fd)
	// The kernel answers within the send; the limit is for the one that does not.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, diagQuery(local, remote), 0, kernel); err != nil {
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
	if sk.local != local || sk.remote != remote {
		return socketInfo{}, errAbsent
	}
	return sk, nil
}

// diagQuery is the message that asks for the socket with these ends.
func diagQuery(local, remote netip.AddrPort) []byte {
	ne, be := binary.NativeEndian, binary.BigEndian
	b := make([]byte, nlHeader+diagRequest)
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)

	q := b[nlHeader:]
	q[0] = unix.AF_INET6
	if local.Addr().Is4() {
		q[0] = unix.AF_INET // finds IPv6 sockets that speak IPv4 as well
	}
	q[1] = unix.IPPROTO_TCP
	ne.PutUint32(q[4:], ^uint32(0)) // all states

	id := q[diagID:]
	be.PutUint16(id[0:], local.Port())
	be.PutUint16(id[2:], remote.Port())
	copy(id[4:20], local.Addr().AsSlice())
	copy(id[20:36], remote.Addr().AsSlice())
	// Clients on loopback use this device, which has this number in every kernel
	// (LOOPBACK_IFINDEX in include/net/flow.h). Without it a client that has bound
	// itself to the device, as any user may, would cost the slow way.
	ne.PutUint32(id[36:], loopbackIndex)
	ne.PutUint64(id[40:], ^uint64(0)) // no cookie
	return b
}

// parseDiag reads the kernel's answer to [diagQuery].
func parseDiag(b []byte) (socketInfo, error) {
	ne, be := binary.NativeEndian, binary.BigEndian
	if len(b) < nlHeader {
		return socketInfo{}, fmt.Errorf("%w: short netlink answer", errAbsent)
	}
	if n := ne.Uint32(b); int64(n) < nlHeader || int64(n) > int64(len(b)) {
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
		local, _ := netip.AddrFromSlice(id[4 : 4+size])
		remote, _ := netip.AddrFromSlice(id[20 : 20+size])
		return socketInfo{
			local:  netip.AddrPortFrom(local.Unmap(), be.Uint16(id[0:])),
			remote: netip.AddrPortFrom(remote.Unmap(), be.Uint16(id[2:])),
			state:  m[1],
			uid:    ne.Uint32(m[diagAnswerUID:]),
			inode:  ne.Uint32(m[diagAnswerInode:]),
		}, nil
	}
}
