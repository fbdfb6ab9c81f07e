package peer

import (
	"bufio"
	"io"
	"net/netip"
	"os"
)

// tcpListen is TCP_LISTEN of the kernel's include/net/tcp_states.h.
const tcpListen = 10

// Listener tells who listens at a TCP address of this machine, on that or on
// every interface: of another user the UID only. UID is -1 when nobody does, or
// it cannot be told. It is for people to read, not to decide on.
func Listener(address netip.AddrPort) Peer {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if err != nil {
			continue // no IPv6 in this kernel, or no /proc
		}
		sk, ok := findListener(f, address)
		_ = f.Close()
		if ok {
			if int(sk.uid) != os.Geteuid() {
				return Peer{UID: int(sk.uid)} // not to be searched for, see Identify
			}
			return describe(identity{uid: int(sk.uid), inode: sk.inode})
		}
	}
	return Peer{UID: -1}
}

// findListener reads a table up to the row of a socket that listens there.
func findListener(r io.Reader, address netip.AddrPort) (socketInfo, bool) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		sk, err := parseTCP(lines.Text())
		if err != nil || sk.state != tcpListen || sk.local.Port() != address.Port() {
			continue
		}
		if ip := sk.local.Addr(); ip == address.Addr().Unmap() || ip.IsUnspecified() {
			return sk, true
		}
	}
	return socketInfo{}, false
}
