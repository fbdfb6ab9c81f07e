package peer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func lookupUnix(c net.Conn) (identity, error) {
	var cred *unix.Ucred
	err := control(c, func(fd uintptr) (err error) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return unidentified(), err
	}
	id := identity{uid: int(cred.Uid), pid: int(cred.Pid)}
	if err := sameUser(id.uid); err != nil {
		return id, err
	}
	return withStart(id, func() error { return checkConnector(c) }), nil
}

// errEnded: the process that connected has ended.
var errEnded = errors.New("process has ended")

// withStart adds when the process that connected was started, so that a later process of the
// same number is not shown as the one that asks. check returns an error if that process is not
// there any more, or cannot be told.
//
// A program can connect, leave the connection to a child, and end. The child waits until the
// number belongs to another program, of a terminal or executable that a step-up is for: the
// agent may be busy, stopped, or not yet started while the connection is in its queue. So check
// comes after the start was read: what was read is then of the process that connected.
func withStart(id identity, check func() error) identity {
	if id.pid == 0 {
		return id // of a PID namespace around ours
	}
	st, err := readStat(id.pid)
	if checkErr := check(); checkErr != nil {
		err = checkErr
	}
	if err != nil {
		id.pid, id.ended = 0, errors.Is(err, errEnded) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
		return id
	}
	id.start = st.start
	return id
}

// checkConnector returns errEnded if the process that connected over c has ended, and any other
// error if that cannot be told now. A kernel before Linux 6.5 cannot tell, which is no error:
// there, a number that was given again before the agent looks is not noticed.
func checkConnector(c net.Conn) error {
	var pidfd int
	err := control(c, func(fd uintptr) (err error) {
		pidfd, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOPROTOOPT):
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENODATA):
		return errEnded // before Linux 6.16 there is no such descriptor then
	case err != nil:
		return err
	}
	defer unix.Close(pidfd)
	// It is readable from the end of the process on, also before its parent has waited for it.
	ready, err := retried(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	})
	if err == nil && ready > 0 {
		return errEnded
	}
	return err
}

// lookupTCP finds the client's socket. Its first attempt is the exact query alone.
func lookupTCP(c net.Conn, e ends, attempt int) (identity, error) {
	sk, err := diagSocket(e)
	if err != nil && attempt > 0 {
		// No sock_diag in this kernel or sandbox, or a client bound to a
		// device, which an exact query does not find.
		sk, err = procSocket(func(s socketInfo) bool { return s.ends == e })
	}
	// Asked after the table was read: while our end is established, no other
	// socket can have taken over the client's address. Otherwise a stranger could
	// connect, send, reset, and leave the port to a program of ours, which would
	// then be found in the table for what the stranger sent.
	if err := established(c); err != nil {
		return unidentified(), err
	}
	if err != nil {
		return unidentified(), err
	}
	id, err := owner(sk)
	id.open = func() bool { return established(c) == nil }
	return id, err
}

// owner judges the client's row of the table.
func owner(sk socketInfo) (identity, error) {
	// A socket that its process has closed with data still under way is an
	// orphan: the kernel shows it with inode 0 and uid 0, whatever its user was. Taking
	// that for root would let every user in who sends and closes at once.
	if sk.inode == 0 || sk.state != tcpEstablished {
		return unidentified(), errGone
	}
	id := identity{uid: int(sk.uid), inode: sk.inode}
	return id, sameUser(id.uid)
}

// established returns nil if our end of the connection is open in both directions.
func established(c net.Conn) error {
	var info *unix.TCPInfo
	err := control(c, func(fd uintptr) (err error) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	if err == nil && info.State != tcpEstablished {
		return errGone
	}
	return err
}

// overflowUID stands for every user that has no number in our user namespace.
const overflowUID = 65534

// sameUser returns nil if uid is the user that this process runs as.
func sameUser(uid int) error {
	if uid != os.Geteuid() {
		return fmt.Errorf("%w (uid %d)", ErrOtherUser, uid)
	}
	if uid == overflowUID && !wholeUIDMap() {
		// In a container that runs as the user nobody, all users from outside look like
		// that one.
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
