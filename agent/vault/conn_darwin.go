package vault

import (
	"net"

	"golang.org/x/sys/unix"
)

// setSendTimeout ends a connection whose bytes are not acknowledged in time.
func setSendTimeout(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, int(sendTimeout.Seconds()))
}

func readCounts(net.Conn) counts { return counts{} }
