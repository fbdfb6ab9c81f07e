package peer

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const tcpEstablished = 1 // TCP_ESTABLISHED of the kernel's tcp_states.h

// A socketInfo is one row of the kernel's socket tables.
type socketInfo struct {
	local, remote netip.AddrPort // never IPv4 in IPv6 clothes
	state         uint8
	uid           uint32
	inode         uint32
}

// lookup asks the kernel who is at the other end of c. The first attempt is
// cheap; later ones also read the tables in /proc.
func lookup(c net.Conn, attempt int) (identity, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nobody(), fmt.Errorf("%w: connection of type %T", ErrUnsupported, c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nobody(), fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	switch c.LocalAddr().(type) {
	case *net.UnixAddr:
		return lookupUnix(raw)
	case *net.TCPAddr:
		return lookupTCP(c, raw, attempt)
	}
	return nobody(), fmt.Errorf("%w: %s", ErrUnsupported, c.LocalAddr().Network())
}

func lookupUnix(raw syscall.RawConn) (identity, error) {
	var cred *unix.Ucred
	var credErr error
	err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return nobody(), fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	id := identity{uid: int(cred.Uid), pid: int(cred.Pid)}
	if err := sameUser(id.uid); err != nil {
		return id, err
	}
	// Remembered now, so that a later process of the same number is not shown
	// as the one that asks.
	if st, err := readStat(id.pid); err == nil {
		id.start = st.start
	} else {
		id.pid = 0
	}
	return id, nil
}

func lookupTCP(c net.Conn, raw syscall.RawConn, attempt int) (identity, error) {
	ours, theirs := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	if !ours.IsValid() || !theirs.IsValid() {
		return nobody(), fmt.Errorf("%w: no address", ErrUnknown)
	}
	sk, err := diagSocket(theirs, ours)
	if err != nil && attempt > 0 {
		// No sock_diag in this kernel or sandbox, or a client bound to a
		// device, which an exact query does not find.
		sk, err = procSocket(theirs, ours)
	}
	// Asked after the table was read: while our end is established, no other
	// socket can have taken over the client's address. Otherwise a stranger could
	// connect, send, reset, and leave the port to a program of ours, which would
	// then be found in the table for what the stranger sent.
	if !established(raw) {
		return nobody(), fmt.Errorf("%w: closed by the client", ErrUnknown)
	}
	if err != nil {
		return nobody(), err
	}
	id, err := owner(sk)
	id.open = func() bool { return established(raw) }
	return id, err
}

// owner judges the client's row of the table.
func owner(sk socketInfo) (identity, error) {
	// A socket that its process has closed with data still under way is an
	// orphan: the kernel shows it with inode 0 and, whoever it was, uid 0. Taking
	// that for root would let every user in who sends and closes at once.
	if sk.inode == 0 || sk.state != tcpEstablished {
		return nobody(), fmt.Errorf("%w: closed by the client", ErrUnknown)
	}
	id := identity{uid: int(sk.uid), inode: sk.inode}
	return id, sameUser(id.uid)
}

// established reports whether our end of the connection is open in both
// directions.
func established(raw syscall.RawConn) bool {
	var info *unix.TCPInfo
	var infoErr error
	err := raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	return err == nil && infoErr == nil && info.State == tcpEstablished
}

// overflowUID stands for every user that has no number in our user namespace.
const overflowUID = 65534

// sameUser returns nil if uid is the user that this process runs as.
func sameUser(uid int) error {
	if uid != os.Geteuid() {
		return fmt.Errorf("%w (uid %d)", ErrOtherUser, uid)
	}
	if uid == overflowUID && !wholeUIDMap() {
		// In a container that runs as nobody, all users from outside look like
		// nobody.
		return fmt.Errorf("%w: uid %d stands for many users here", ErrUnknown, uid)
	}
	return nil
}

// wholeUIDMap reports whether every user of the machine has a number here.
func wholeUIDMap() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	f := bytes.Fields(m)
	return err == nil && len(f) == 3 && string(f[0]) == "0" && string(f[1]) == "0" && string(f[2]) == "4294967295"
}

// addrPort returns a's address, an IPv4 one always as such.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
