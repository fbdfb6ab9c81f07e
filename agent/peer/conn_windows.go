package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// lookup asks the system who is at the other end of c. Windows has no user
// numbers: the owner of the process at the other end is compared, and uid stays
// -1.
func lookup(c net.Conn, _ int) (identity, error) {
	id := nobody()
	pid, err := peerPID(c)
	if err != nil {
		return id, err
	}
	id.pid = int(pid)
	proc, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		// We may always ask about our own processes, except about those that
		// run with more rights, which are not ours to serve either.
		return id, fmt.Errorf("%w (process %d)", ErrOtherUser, pid)
	}
	if err != nil {
		return id, fmt.Errorf("%w: process %d: %w", ErrUnknown, pid, err)
	}
	defer windows.CloseHandle(proc)
	id.start = started(proc)
	return id, sameOwner(proc)
}

// peerPID returns the number of the process at the other end.
func peerPID(c net.Conn) (uint32, error) {
	switch local := c.LocalAddr().(type) {
	case *net.UnixAddr:
		return unixPID(c)
	case *net.TCPAddr:
		remote, ok := c.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return 0, fmt.Errorf("%w: no address", ErrUnknown)
		}
		return tcpPID(unmapped(remote.AddrPort()), unmapped(local.AddrPort()))
	}
	return 0, fmt.Errorf("%w: %s", ErrUnsupported, c.LocalAddr().Network())
}

// unixPID asks with SIO_AF_UNIX_GETPEERPID of afunix.h.
func unixPID(c net.Conn) (uint32, error) {
	const getPeerPID = 0x58000100
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%w: connection of type %T", ErrUnsupported, c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	var pid, n uint32
	var ctlErr error
	err = raw.Control(func(fd uintptr) {
		ctlErr = windows.WSAIoctl(windows.Handle(fd), getPeerPID, nil, 0,
			(*byte)(unsafe.Pointer(&pid)), uint32(unsafe.Sizeof(pid)), &n, nil, 0)
	})
	if err = errors.Join(err, ctlErr); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return pid, nil
}

// sameOwner returns nil if proc runs as the user of this process.
func sameOwner(proc windows.Handle) error {
	var token windows.Token
	if err := windows.OpenProcessToken(proc, windows.TOKEN_QUERY, &token); err != nil {
		if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			return ErrOtherUser
		}
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	defer token.Close()
	theirs, err := token.GetTokenUser()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	ours, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !theirs.User.Sid.Equals(ours.User.Sid) {
		return ErrOtherUser
	}
	return nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// tcpPID finds the process that owns the established socket with these ends in
// the system's table.
func tcpPID(local, remote netip.AddrPort) (uint32, error) {
	table, err := tcpTable(local.Addr().Is4())
	if err != nil {
		return 0, err
	}
	find := findTCP6Row
	if local.Addr().Is4() {
		find = findTCPRow
	}
	pid, err := find(table, local, remote)
	if err != nil {
		return 0, err
	}
	// While our end is established in the same table, the client's address cannot
	// have passed to another socket, see the Linux file.
	if _, err := find(table, remote, local); err != nil {
		return 0, fmt.Errorf("%w: closed by the client", ErrUnknown)
	}
	return pid, nil
}

// tcpTable calls GetExtendedTcpTable of iphlpapi for all sockets with their
// processes.
func tcpTable(v4 bool) ([]byte, error) {
	const ownerPIDAll = 5 // TCP_TABLE_OWNER_PID_ALL
	family := uintptr(windows.AF_INET6)
	if v4 {
		family = windows.AF_INET
	}
	call := windows.NewLazySystemDLL("iphlpapi.dll").NewProc("GetExtendedTcpTable")
	if err := call.Find(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	buf := make([]byte, 64<<10)
	for range 5 { // the table may grow between two calls
		size := uint32(len(buf))
		r, _, _ := call.Call(uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0, family, ownerPIDAll, 0)
		switch windows.Errno(r) {
		case 0:
			return buf[:min(int(size), len(buf))], nil
		case windows.ERROR_INSUFFICIENT_BUFFER:
			buf = make([]byte, size+16<<10)
		default:
			return nil, fmt.Errorf("%w: %w", ErrUnknown, windows.Errno(r))
		}
	}
	return nil, errAbsent
}
