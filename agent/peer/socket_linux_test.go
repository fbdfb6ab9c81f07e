package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// formatTCP writes a row as the kernel does.
func formatTCP(sk socketInfo) string {
	end := func(a netip.AddrPort) string {
		raw := a.Addr().AsSlice()
		for i := 0; i < len(raw); i += 4 {
			binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
		}
		return fmt.Sprintf("%X:%04X", raw, a.Port())
	}
	return fmt.Sprintf("%4d: %s %s %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 0000000000000000 20 4 30 10 -1",
		3, end(sk.local), end(sk.remote), sk.state, 0, 0, 0, 0, 0, sk.uid, 0, sk.inode)
}

func TestParseTCP(t *testing.T) {
	t.Parallel()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("needs a little-endian machine, on which the rows were taken")
	}
	for _, tt := range []struct {
		name, row string
		want      socketInfo
	}{
		{
			"IPv4",
			"   1: 0100007F:1FA4 0100007F:E8B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0000000000000000 20 4 30 10 -1",
			socketInfo{port("127.0.0.1:8100", "127.0.0.1:59570"), 1, 1000, 23456},
		},
		{
			"IPv4 in IPv6",
			"   1: 0000000000000000FFFF00000100007F:1FA4 0000000000000000FFFF00000100007F:E8B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0000000000000000 20 4 30 10 -1",
			socketInfo{port("127.0.0.1:8100", "127.0.0.1:59570"), 1, 1000, 23456},
		},
		{
			"IPv6 orphan",
			"   1: 00000000000000000000000001000000:1FA4 00000000000000000000000001000000:E8B2 04 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000",
			socketInfo{port("[::1]:8100", "[::1]:59570"), 4, 0, 0},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseTCP(tt.row)
			if err != nil || got != tt.want {
				t.Errorf("parseTCP = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	heading := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	if got, err := parseTCP(heading); !errors.Is(err, errTCPRow) {
		t.Errorf("parseTCP of the heading = %+v, %v, want %v", got, err, errTCPRow)
	}
}

// Law: what reads as a row reads the same after it was written as the kernel
// writes it, and is found in a table by its ends.
func FuzzParseTCP(f *testing.F) {
	f.Add("   1: 0100007F:1FA4 0100007F:E8B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0")
	f.Add("   1: 0000000000000000FFFF00000100007F:1FA4 00000000000000000000000001000000:E8B2 0A 0:0 0:0 0 0 0 0")
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode")
	f.Fuzz(func(t *testing.T, row string) {
		sk, err := parseTCP(row)
		if err != nil {
			if sk != (socketInfo{}) {
				t.Fatalf("an error came with %+v", sk)
			}
			return
		}
		text := formatTCP(sk)
		again, err := parseTCP(text)
		if err != nil || again != sk {
			t.Fatalf("%q reads as %+v, %v; want %+v", text, again, err, sk)
		}
		found, err := findTCP(strings.NewReader("  sl heading\n"+text+"\n"), func(s socketInfo) bool { return s.ends == sk.ends })
		if err != nil || found != sk {
			t.Fatalf("findTCP = %+v, %v; want %+v", found, err, sk)
		}
	})
}

func TestParseDiag(t *testing.T) {
	t.Parallel()
	ne := binary.NativeEndian
	short := make([]byte, nlHeader)
	ne.PutUint32(short, 4096)
	refused := make([]byte, nlHeader+4)
	ne.PutUint32(refused, uint32(len(refused)))
	ne.PutUint16(refused[4:], unix.NLMSG_ERROR)
	ne.PutUint32(refused[nlHeader:], ^uint32(unix.ENOENT)+1) // the negative number
	other := make([]byte, nlHeader+diagAnswer)
	ne.PutUint32(other, uint32(len(other)))
	ne.PutUint16(other[4:], unix.NLMSG_DONE)
	for _, tt := range []struct {
		name string
		b    []byte
		also error
	}{
		{"empty", nil, errAbsent},
		{"length beyond the end", short, errAbsent},
		{"kernel says no", refused, unix.ENOENT},
		{"another type", other, errAbsent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parseDiag(tt.b); !errors.Is(err, errAbsent) || !errors.Is(err, tt.also) {
				t.Errorf("parseDiag = %v, want %v", err, tt.also)
			}
		})
	}
}

// Both ways of asking must agree on every form of address.
func TestTablesAgree(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ network, address string }{
		"IPv4":                          {"tcp4", "127.0.0.1:0"},
		"another loopback address":      {"tcp4", "127.0.0.2:0"},
		"IPv6":                          {"tcp6", "[::1]:0"},
		"IPv4 to a dual stack listener": {"tcp", "[::]:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, server := newFixtureAt(t, tt.network, tt.address).dial()
			compareTables(t, ends{addrPort(server.RemoteAddr()), addrPort(server.LocalAddr())})
			// The accepted end is an IPv6 socket in the dual stack case.
			compareTables(t, ends{addrPort(server.LocalAddr()), addrPort(server.RemoteAddr())})
		})
	}
}

func compareTables(t *testing.T, e ends) {
	t.Helper()
	diag, err := diagSocket(e)
	if err != nil {
		t.Fatalf("sock_diag: %v", err)
	}
	proc, err := procSocket(func(s socketInfo) bool { return s.ends == e })
	if err != nil {
		t.Fatalf("/proc: %v", err)
	}
	if diag != proc {
		t.Errorf("sock_diag says %+v, /proc says %+v", diag, proc)
	}
	if diag.inode == 0 || diag.state != tcpEstablished || int(diag.uid) != os.Geteuid() {
		t.Errorf("socket = %+v, want an open one of ours", diag)
	}
}

// A client may be an IPv6 socket that speaks IPv4.
func TestDualStackClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "tcp4")
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	to := &unix.SockaddrInet6{Port: f.ln.Addr().(*net.TCPAddr).Port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	must(t, unix.Connect(fd, to))
	server := f.accept()
	compareTables(t, ends{addrPort(server.RemoteAddr()), addrPort(server.LocalAddr())})
	if err := Identify(server).SameUser(); err != nil {
		t.Errorf("SameUser() = %v, want nil", err)
	}
}

// The exact query of a port that has a listener may answer with the
// listener, which has an owner and an inode too.
func TestDiagIsNotFooledByListener(t *testing.T) {
	t.Parallel()
	e := ends{addrPort(newFixture(t, "tcp4").ln.Addr()), netip.MustParseAddrPort("127.0.0.1:1")}
	if sk, err := diagSocket(e); !errors.Is(err, errAbsent) {
		t.Errorf("diagSocket = %+v, %v, want %v", sk, err, errAbsent)
	}
}

func TestListener(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			port := uint16(newFixtureAt(t, "tcp", address).ln.Addr().(*net.TCPAddr).Port)
			p := Listener(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
			if p.UID != os.Getuid() || p.PID != os.Getpid() || p.Exe == "" {
				t.Errorf("Listener = %+v", p)
			}
		})
	}
	if p := Listener(netip.MustParseAddrPort("127.0.0.1:0")); p.UID != -1 || p.PID != 0 {
		t.Errorf("Listener where there is none = %+v", p)
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
		address := netip.MustParseAddrPort(tt.address)
		sk, err := findTCP(strings.NewReader(table), func(s socketInfo) bool { return s.listensAt(address) })
		if (err == nil) != (tt.uid >= 0) || err == nil && int(sk.uid) != tt.uid {
			t.Errorf("%s: %+v, %v, want user %d", tt.address, sk, err, tt.uid)
		}
	}
}
