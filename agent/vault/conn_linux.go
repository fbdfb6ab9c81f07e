package vault

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// setSendTimeout ends a connection whose bytes are not acknowledged in time.
func setSendTimeout(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(sendTimeout.Milliseconds()))
}

// readCounts asks the kernel about a TCP connection.
func readCounts(c net.Conn) (n counts) {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return n
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return n
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.Bytes_acked == 0 { // an old kernel, or no TCP
			return
		}
		n = counts{
			known:         true,
			acknowledged:  int64(info.Bytes_acked) - 1, // it counts the SYN
			retransmitted: info.Total_retrans,
			closed:        info.State == closeWait,
		}
	})
	return n
}

// closeWait is TCP_CLOSE_WAIT of the kernel's net/tcp_states.h.
const closeWait = 8
