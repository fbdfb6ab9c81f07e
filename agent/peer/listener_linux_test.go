package peer

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestListener(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			port := uint16(ln.Addr().(*net.TCPAddr).Port)
			p := Listener(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
			if p.UID != os.Getuid() || p.PID != os.Getpid() || p.Exe == "" {
				t.Errorf("Listener = %+v", p)
			}
		})
	}
	if p := Listener(netip.MustParseAddrPort("127.0.0.1:0")); p.UID != -1 || p.PID != 0 {
		t.Errorf("nobody is %+v", p)
	}
}

// The table of a machine that is not ours: a connection at the address is no
// listener, another user's socket has a number and no process.
func TestFindListener(t *testing.T) {
	t.Parallel()
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1FA4 0100007F:D2B4 01 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 20 4 30 10 -1
   1: 0100007F:1FA4 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 12 1 0000000000000000 100 0 0 10 0
   2: 00000000:1FA5 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 13 1 0000000000000000 100 0 0 10 0
`
	for _, tt := range []struct {
		address string
		uid     int
	}{{"127.0.0.1:8100", 1001}, {"127.0.0.1:8101", 1002}, {"127.0.0.1:8102", -1}, {"127.0.0.2:8100", -1}} {
		sk, ok := findListener(strings.NewReader(table), netip.MustParseAddrPort(tt.address))
		if ok != (tt.uid >= 0) || ok && int(sk.uid) != tt.uid {
			t.Errorf("%s: %+v, %v, want user %d", tt.address, sk, ok, tt.uid)
		}
	}
}
