//go:build unix

package express

import "golang.org/x/sys/unix"

// nothingToRead reports whether the socket is open and empty.
func nothingToRead(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}
