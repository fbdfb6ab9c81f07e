package express

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// nothingToRead reports whether the socket is open and empty. Sockets block here: they are
// asked whether a read would do so.
func nothingToRead(fd uintptr) bool {
	poll := windows.NewLazySystemDLL("ws2_32.dll").NewProc("WSAPoll")
	if poll.Find() != nil {
		return true // a connection that Vault has closed is noticed when it is used
	}
	const normalData = 0x100 // POLLRDNORM of winsock2.h
	one := struct {          // WSAPOLLFD
		socket        uintptr
		wanted, found int16
	}{socket: fd, wanted: normalData}
	ready, _, _ := poll.Call(uintptr(unsafe.Pointer(&one)), 1, 0)
	return ready == 0
}
