package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const tcpEstablished = 4 // TCPS_ESTABLISHED of XNU's tcp_fsm.h

// lookup asks the kernel who is at the other end of c; every attempt is alike.
func lookup(c net.Conn, _ int) (identity, error) {
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
		return lookupTCP(c, raw)
	}
	return nobody(), fmt.Errorf("%w: %s", ErrUnsupported, c.LocalAddr().Network())
}

func lookupUnix(raw syscall.RawConn) (identity, error) {
	id := nobody()
	var credErr error
	err := raw.Control(func(fd uintptr) {
		var cred *unix.Xucred
		if cred, credErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); credErr != nil {
			return
		}
		id.uid = int(cred.Uid)
		// The number of the process is for people; that it fails is no refusal.
		id.pid, _ = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return nobody(), fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return withStart(id), sameUser(id.uid)
}

func lookupTCP(c net.Conn, raw syscall.RawConn) (identity, error) {
	ours, theirs := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	if !ours.IsValid() || !theirs.IsValid() {
		return nobody(), fmt.Errorf("%w: no address", ErrUnknown)
	}
	table, err := unix.SysctlRaw("net.inet.tcp.pcblist_n")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return nobody(), fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	var uid, pid uint32
	if err != nil { // such as a table that grew while it was read
		err = fmt.Errorf("%w: %w", errAbsent, err)
	} else {
		uid, pid, err = findPCB(table, theirs, ours)
	}
	// Asked after the table was read: while our end is established, no other
	// socket can have taken over the client's address, see the Linux file.
	if !established(raw) {
		return nobody(), fmt.Errorf("%w: closed by the client", ErrUnknown)
	}
	switch {
	case errors.Is(err, errPCBList):
		return nobody(), fmt.Errorf("%w: %w", ErrUnsupported, err)
	case err != nil:
		return nobody(), err
	}
	return withStart(identity{uid: int(uid), pid: int(pid)}), sameUser(int(uid))
}

// withStart adds when the process started, so that a later process of the same
// number is not shown as the one that asks.
func withStart(id identity) identity {
	p, err := readProcess(id.pid)
	if err != nil {
		id.pid = 0
		return id
	}
	id.start = p.start
	return id
}

// established reports whether our end of the connection is open in both
// directions.
func established(raw syscall.RawConn) bool {
	var info *unix.TCPConnectionInfo
	var infoErr error
	err := raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	})
	return err == nil && infoErr == nil && info.State == tcpEstablished
}

// sameUser returns nil if uid is the user that this process runs as.
func sameUser(uid int) error {
	if uid != os.Geteuid() {
		return fmt.Errorf("%w (uid %d)", ErrOtherUser, uid)
	}
	return nil
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
