package peer

import (
	"bytes"
	"fmt"
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
	// Remembered now, so that a later process of the same number is not shown
	// as the one that asks.
	if st, err := readStat(id.pid); err == nil {
		id.start = st.start
	} else {
		id.pid = 0
	}
	return id, nil
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
