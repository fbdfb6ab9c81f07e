package vault

import (
	"net"

	"golang.org/x/sys/windows"
)

// setSendTimeout ends a connection whose bytes are not acknowledged in time.
func setSendTimeout(fd uintptr) {
	_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, windows.TCP_MAXRT, int(sendTimeout.Seconds()))
}

func readCounts(net.Conn) counts { return counts{} }
