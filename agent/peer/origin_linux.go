package peer

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mounted compares the executable that process p.PID runs with the file that this process
// finds at the path. The kernel gives the path as the process sees it: in a mount namespace
// of its own, which needs no rights, a copy of curl can be at /usr/bin/vault.
func mounted(p Peer) Origin {
	running, err := status(fmt.Sprintf("/proc/%d/exe", p.PID), 0)
	if err != nil {
		return OriginUnknown
	}
	found, err := status(p.Exe, unix.AT_SYMLINK_NOFOLLOW)
	same := err == nil && running.Ino == found.Ino && running.Dev_major == found.Dev_major && running.Dev_minor == found.Dev_minor
	switch {
	case same && p.Exe == pathOfExe(p.PID):
		return ""
	case sameMounts(p.PID):
		return OriginReplaced
	}
	return OriginSandbox
}

// pathOfExe is read again behind the comparison: a process that has run another executable
// meanwhile is not the one that is shown.
func pathOfExe(pid int) string {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return exe
}

// status asks no remote file system, nor a program of the user that plays one: it could let
// the agent wait for ever.
func status(path string, flags int) (st unix.Statx_t, err error) {
	err = unix.Statx(unix.AT_FDCWD, path, flags|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO|unix.STATX_CTIME, &st)
	return st, err
}

// sameMounts reports whether a process sees the file system as this one does. A process that
// does not let it be told counts as one that does not.
func sameMounts(pid int) bool {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return false
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	return err == nil && theirs == ours
}
