package peer

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const stranger = 65534

// asStranger makes a client run as another user.
func asStranger(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
}

func TestOtherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
			if network == "unix" {
				dir, err := os.MkdirTemp("", "peer")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				address = filepath.Join(dir, "s")
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ln := listen(t, network, address)
			if network == "unix" {
				if err := os.Chmod(address, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			startClient(t, ln.Addr(), asStranger)
			c := Identify(accept(t, ln))
			if err := c.SameUser(); !errors.Is(err, ErrOtherUser) {
				t.Fatalf("SameUser() = %v, want %v", err, ErrOtherUser)
			}
			if p := c.Describe(); p.UID != stranger || p.Exe != "" || c.Self() {
				t.Errorf("Describe() = %+v, want only the user", p)
			}
		})
	}
}

// Both ways of asking must agree on every form of address.
func TestTablesAgree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, network, listen, dial string }{
		{"IPv4", "tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"another loopback address", "tcp4", "127.0.0.2:0", "127.0.0.2"},
		{"IPv6", "tcp6", "[::1]:0", "::1"},
		{"IPv4 to a dual stack listener", "tcp", "[::]:0", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln := listen(t, tt.network, tt.listen)
			port := ln.Addr().(*net.TCPAddr).Port
			client, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(tt.dial), Port: port})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server := accept(t, ln)
			compareTables(t, addrPort(server.RemoteAddr()), addrPort(server.LocalAddr()))
			// The accepted end is an IPv6 socket in the dual stack case.
			compareTables(t, addrPort(server.LocalAddr()), addrPort(server.RemoteAddr()))
		})
	}
}

func compareTables(t *testing.T, local, remote netip.AddrPort) {
	t.Helper()
	diag, err := diagSocket(local, remote)
	if err != nil {
		t.Fatalf("sock_diag: %v", err)
	}
	proc, err := procSocket(local, remote)
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
	ln := listen(t, "tcp4", "127.0.0.1:0")
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet6{Port: ln.Addr().(*net.TCPAddr).Port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	server := accept(t, ln)
	compareTables(t, addrPort(server.RemoteAddr()), addrPort(server.LocalAddr()))
	if err := Identify(server).SameUser(); err != nil {
		t.Errorf("SameUser() = %v, want nil", err)
	}
}

// The exact query of a port on which somebody listens may answer with the
// listener, which has an owner and an inode too.
func TestDiagIsNotFooledByListener(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp4", "127.0.0.1:0")
	nobodyThere := netip.MustParseAddrPort("127.0.0.1:1")
	if sk, err := diagSocket(addrPort(ln.Addr()), nobodyThere); !errors.Is(err, errAbsent) {
		t.Errorf("diagSocket = %+v, %v, want %v", sk, err, errAbsent)
	}
}

// A client that sends and leaves before it is looked at is never taken for
// somebody: by then the kernel shows its socket without an owner.
func TestGoneClient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		leave func(*net.TCPConn)
	}{
		{"close", func(c *net.TCPConn) { _ = c.Close() }},
		{"reset", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }},
		{"half close", func(c *net.TCPConn) { _ = c.CloseWrite() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln := listen(t, "tcp4", "127.0.0.1:0")
			client, err := net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server := accept(t, ln)
			if _, err := client.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
				t.Fatal(err)
			}
			tt.leave(client)
			if err := Identify(server).SameUser(); !errors.Is(err, ErrUnknown) {
				t.Errorf("SameUser() = %v, want %v", err, ErrUnknown)
			}
		})
	}
}

// A stranger connects, sends, resets, and leaves the port to a program of ours,
// which connects from it as well. What the stranger sent is still there to read,
// and the table now has a socket of ours with exactly those ends.
func TestAddressTakenOver(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp4", "127.0.0.1:0")
	to := ln.Addr().(*net.TCPAddr)
	// An address of its own: on 127.0.0.1 another test may be given the port in between.
	mallory, err := net.DialTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 83, 7, 11)}, to)
	if err != nil {
		t.Fatal(err)
	}
	from := mallory.LocalAddr().(*net.TCPAddr)
	server := accept(t, ln)
	if _, err := mallory.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = mallory.SetLinger(0)
	_ = mallory.Close()
	// A child that another test has just forked holds the port until it has executed.
	alice, err := net.DialTCP("tcp4", from, to)
	for tries := 0; errors.Is(err, unix.EADDRINUSE) && tries < 3000; tries++ {
		time.Sleep(10 * time.Millisecond)
		alice, err = net.DialTCP("tcp4", from, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if sk, err := diagSocket(addrPort(from), addrPort(to)); err != nil || sk.inode == 0 {
		t.Fatalf("the table has %+v, %v; want the new socket", sk, err)
	}
	if err := Identify(server).SameUser(); !errors.Is(err, ErrUnknown) {
		t.Errorf("SameUser() of the first connection = %v, want %v", err, ErrUnknown)
	}
	if err := Identify(accept(t, ln)).SameUser(); err != nil {
		t.Errorf("SameUser() of the second connection = %v, want nil", err)
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	me := uint32(os.Geteuid())
	for _, tt := range []struct {
		name string
		sk   socketInfo
		want error
	}{
		{"ours", socketInfo{uid: me, inode: 7, state: tcpEstablished}, nil},
		{"another user's", socketInfo{uid: me + 1, inode: 7, state: tcpEstablished}, ErrOtherUser},
		{"orphan", socketInfo{uid: 0, inode: 0, state: tcpEstablished}, ErrUnknown},
		{"orphan of ours", socketInfo{uid: me, inode: 0, state: tcpEstablished}, ErrUnknown},
		{"closing", socketInfo{uid: me, inode: 7, state: unix.BPF_TCP_FIN_WAIT2}, ErrUnknown},
		{"a listener", socketInfo{uid: me, inode: 7, state: unix.BPF_TCP_LISTEN}, ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if id, err := owner(tt.sk); !errors.Is(err, tt.want) {
				t.Errorf("owner = %+v, %v, want %v", id, err, tt.want)
			}
		})
	}
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

// Only its first process may be shown for a connection that children inherited.
func TestHolderIsTheOldest(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp4", "127.0.0.1:0")
	client, err := net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := accept(t, ln)
	file, err := client.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	startClient(t, listen(t, "tcp4", "127.0.0.1:0").Addr(), func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{file} })
	if p := Identify(server).Describe(); p.PID != os.Getpid() {
		t.Errorf("Describe() = %+v, want this process", p)
	}
}

// A number that was given to another process since is nobody.
func TestReusedProcessNumber(t *testing.T) {
	t.Parallel()
	st, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	id := identity{uid: os.Geteuid(), pid: os.Getpid(), start: st.start}
	if p := describe(id); p.PID != os.Getpid() {
		t.Fatalf("describe = %+v, want this process", p)
	}
	id.start--
	if p := describe(id); p.PID != 0 || p.Exe != "" || p.Chain != nil || p.UID != os.Geteuid() {
		t.Errorf("describe = %+v, want only the user", p)
	}
}

func BenchmarkIdentify(b *testing.B) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	for b.Loop() {
		if err := Identify(server).SameUser(); err != nil {
			b.Fatal(err)
		}
	}
}

// A client that has bound itself to the loopback device is found at the first
// look: any user may do that, and the slow look would keep other clients waiting.
func TestDeviceBoundClientIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}} {
		t.Run(tt.network, func(t *testing.T) {
			t.Parallel()
			ln := listen(t, tt.network, tt.address)
			d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				var bindErr error
				err := c.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), "lo") })
				return errors.Join(err, bindErr)
			}}
			client, err := d.DialContext(t.Context(), tt.network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server := accept(t, ln)
			if id, err := lookup(server, 0); err != nil || id.uid != os.Geteuid() {
				t.Errorf("lookup = %+v, %v, want our own", id, err)
			}
		})
	}
}
