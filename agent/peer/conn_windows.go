package peer

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/windows"
)

func lookupUnix(c net.Conn) (identity, error) {
	if pipe, ok := c.(interface{ Fd() uintptr }); ok {
		return lookupPipe(windows.Handle(pipe.Fd()))
	}
	const getPeerPID = 0x58000100 // SIO_AF_UNIX_GETPEERPID of afunix.h
	var pid, n uint32
	err := control(c, func(fd uintptr) error {
		return windows.WSAIoctl(windows.Handle(fd), getPeerPID, nil, 0,
			(*byte)(unsafe.Pointer(&pid)), uint32(unsafe.Sizeof(pid)), &n, nil, 0)
	})
	if err != nil {
		return unidentified(), err
	}
	return ofProcess(pid)
}

// lookupPipe asks for the client of a named pipe. Its access list, not the number of a
// process, is what keeps other users away.
func lookupPipe(pipe windows.Handle) (identity, error) {
	var pid uint32
	if err := windows.GetNamedPipeClientProcessId(pipe, &pid); err != nil {
		return unidentified(), fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return ofProcess(pid)
}

// lookupTCP finds the client's socket in the system's table; every attempt is alike.
func lookupTCP(_ net.Conn, e ends, _ int) (identity, error) {
	table, err := tcpTable(e.local.Addr().Is4())
	if err != nil {
		return unidentified(), err
	}
	pid, err := findTCPRow(table, e)
	if err != nil {
		return unidentified(), err
	}
	// While our end is established in the same table, the client's address cannot
	// have passed to another socket, see the Linux file.
	if _, err := findTCPRow(table, ends{local: e.remote, remote: e.local}); err != nil {
		return unidentified(), errGone
	}
	return ofProcess(pid)
}

// ofProcess is the identity of a connection of process pid. Windows has no user
// numbers: the owner of the process is compared, and uid stays -1.
func ofProcess(pid uint32) (identity, error) {
	id := unidentified()
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
