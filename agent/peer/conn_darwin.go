package peer

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const tcpEstablished = 4 // TCPS_ESTABLISHED of XNU's tcp_fsm.h

func lookupUnix(c net.Conn) (identity, error) {
	id := unidentified()
	err := control(c, func(fd uintptr) error {
		cred, err := unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return err
		}
		id.uid = int(cred.Uid)
		// The number of the process is for people; that it fails is no refusal.
		id.pid, _ = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
		return nil
	})
	if err != nil {
		return unidentified(), err
	}
	return withStart(id), sameUser(id.uid)
}

// lookupTCP finds the client's socket; every attempt is alike.
func lookupTCP(c net.Conn, e ends, _ int) (identity, error) {
	table, err := unix.SysctlRaw("net.inet.tcp.pcblist_n")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return unidentified(), fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	var uid, pid uint32
	if err != nil { // such as a table that grew while it was read
		err = fmt.Errorf("%w: %w", errAbsent, err)
	} else {
		uid, pid, err = findPCB(table, e)
	}
	// Asked after the table was read: while our end is established, no other
	// socket can have taken over the client's address, see the Linux file.
	if err := established(c); err != nil {
		return unidentified(), err
	}
	switch {
	case errors.Is(err, errPCBList):
		return unidentified(), fmt.Errorf("%w: %w", ErrUnsupported, err)
	case err != nil:
		return unidentified(), err
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

// established returns nil if our end of the connection is open in both directions.
func established(c net.Conn) error {
	var info *unix.TCPConnectionInfo
	err := control(c, func(fd uintptr) (err error) {
		info, err = unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
		return err
	})
	if err == nil && info.State != tcpEstablished {
		return errGone
	}
	return err
}

func sameUser(uid int) error {
	if uid != os.Geteuid() {
		return fmt.Errorf("%w (uid %d)", ErrOtherUser, uid)
	}
	return nil
}
