package peer

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const stranger = 65534

// A client that runs as another user.
func TestOtherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	dir, err := os.MkdirTemp("", "peer") // t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(dir, "s")} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f := newFixtureAt(t, network, address)
			if network == "unix" {
				must(t, os.Chmod(address, 0o666))
			}
			_, c := f.dialFrom(func(cmd *exec.Cmd) {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
			})
			if err := c.SameUser(); !errors.Is(err, ErrOtherUser) {
				t.Fatalf("SameUser() = %v, want %v", err, ErrOtherUser)
			}
			p := c.Describe()
			want := Peer{UID: stranger, PID: p.PID} // the kernel names it on a unix socket
			if diff := cmp.Diff(want, p); diff != "" || c.Self() {
				t.Errorf("Describe(), want only the user (-want +got):\n%s", diff)
			}
		})
	}
}

// A client that sends and leaves before it is looked at is never taken for
// another: by then the kernel shows its socket without an owner.
func TestGoneClient(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*net.TCPConn){
		"close":      func(c *net.TCPConn) { _ = c.Close() },
		"reset":      func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"half close": func(c *net.TCPConn) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFixture(t, "tcp4").dialAlone(func(c *net.TCPConn) {
				_, err := c.Write([]byte("GET / HTTP/1.1\r\n"))
				must(t, err)
				leave(c)
			})
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
	f := newFixture(t, "tcp4")
	to := f.ln.Addr().(*net.TCPAddr)
	// An address of its own: on 127.0.0.1 another test may be given the port in between.
	mallory, err := net.DialTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 83, 7, 11)}, to)
	must(t, err)
	from := mallory.LocalAddr().(*net.TCPAddr)
	server := f.accept()
	_, err = mallory.Write([]byte("GET / HTTP/1.1\r\n"))
	must(t, err)
	_ = mallory.SetLinger(0)
	_ = mallory.Close()
	// A child that another test has just forked holds the port until it has executed.
	alice, err := net.DialTCP("tcp4", from, to)
	for tries := 0; errors.Is(err, unix.EADDRINUSE) && tries < 3000; tries++ {
		time.Sleep(10 * time.Millisecond)
		alice, err = net.DialTCP("tcp4", from, to)
	}
	must(t, err)
	defer alice.Close()
	if sk, err := diagSocket(ends{addrPort(from), addrPort(to)}); err != nil || sk.inode == 0 {
		t.Fatalf("the table has %+v, %v; want the new socket", sk, err)
	}
	if err := Identify(server).SameUser(); !errors.Is(err, ErrUnknown) {
		t.Errorf("SameUser() of the first connection = %v, want %v", err, ErrUnknown)
	}
	if err := Identify(f.accept()).SameUser(); err != nil {
		t.Errorf("SameUser() of the second connection = %v, want nil", err)
	}
}

// A program connects, leaves the connection to a child, and ends before the agent looks: nothing
// is said of the number, which the kernel may have given to another one.
func TestConnectorHasEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "unix")
	connector := exec.Command("/proc/self/exe")
	connector.Env = append(os.Environ(), clientEnv+"=unix "+f.ln.Addr().String()+" leaves")
	if out, err := connector.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server := f.accept()
	c := Identify(server)
	must(t, c.SameUser())
	p := c.Describe()
	if diff := cmp.Diff(Peer{UID: os.Geteuid(), Ended: true}, p); diff != "" || p.Origin() != OriginEnded {
		t.Errorf("Describe(), want only the user (-want +got):\n%s", diff)
	}
	if in, err := c.DescendantOf(os.Getpid()); in || !errors.Is(err, ErrUnknown) {
		t.Errorf("DescendantOf = %t, %v", in, err)
	}
	if err := checkConnector(server); !errors.Is(err, errEnded) && tellsConnectors(t) {
		t.Errorf("checkConnector = %v", err)
	}
}

// tellsConnectors reports whether this kernel is Linux 6.5 or later, as that of CI is.
func tellsConnectors(t *testing.T) bool {
	t.Helper()
	_, server := newFixture(t, "unix").dial()
	return control(server, func(fd uintptr) error {
		pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if err == nil {
			_ = unix.Close(pidfd)
		}
		return err
	}) == nil
}

// The kernel's word that the process which connected is gone counts more than the process that
// has its number now, here this one.
func TestConnectorsNumberIsGivenAgain(t *testing.T) {
	t.Parallel()
	st, err := readStat(os.Getpid())
	must(t, err)
	me := identity{uid: os.Geteuid(), pid: os.Getpid()}
	for name, tt := range map[string]struct {
		check error
		want  identity
	}{
		"alive":              {nil, identity{uid: me.uid, pid: me.pid, start: st.start}},
		"ended":              {errEnded, identity{uid: me.uid, ended: true}},
		"no file descriptor": {unix.EMFILE, identity{uid: me.uid}},
	} {
		got := withStart(me, func() error { return tt.check })
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(identity{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		p := describe(got)
		if told := p.PID != 0 && p.Session.ID != "" && p.Program.ID != ""; told != (tt.check == nil) || p.Ended != got.ended {
			t.Errorf("%s: %+v", name, p)
		}
	}
	outside := withStart(identity{uid: me.uid}, func() error { t.Error("asked for a process without a number"); return nil })
	if outside.ended {
		t.Error("a process of another PID namespace has not ended")
	}
}

// A process that lives is no reason to doubt, and neither is a kernel that cannot tell; an error is.
func TestCheckConnector(t *testing.T) {
	t.Parallel()
	_, server := newFixture(t, "unix").dial()
	if err := checkConnector(server); err != nil {
		t.Errorf("a process that lives: %v", err)
	}
	_ = server.Close()
	if err := checkConnector(server); err == nil || errors.Is(err, errEnded) {
		t.Errorf("a connection that is closed: %v", err)
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

// A client that has bound itself to the loopback device is found at the first
// look: any user may do that, and the slow look would keep other clients waiting.
func TestDeviceBoundClientIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, network)
			d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				var bindErr error
				err := c.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), "lo") })
				return errors.Join(err, bindErr)
			}}
			client, err := d.DialContext(t.Context(), network, f.ln.Addr().String())
			must(t, err)
			defer client.Close()
			if id, err := lookup(f.accept(), 0); err != nil || id.uid != os.Geteuid() {
				t.Errorf("lookup = %+v, %v, want our own", id, err)
			}
		})
	}
}

func BenchmarkIdentify(b *testing.B) {
	_, server := newFixture(b, "tcp4").dial()
	for b.Loop() {
		must(b, Identify(server).SameUser())
	}
}

// TestManyUsersOfOneNumber: in a user namespace without users, every user has the number of this
// process.
func TestManyUsersOfOneNumber(t *testing.T) {
	t.Parallel()
	const inside = "STEPUP_TEST_PEER_NAMESPACE"
	if os.Getenv(inside) != "" {
		if err := sameUser(os.Geteuid()); !errors.Is(err, ErrUnknown) {
			t.Errorf("sameUser = %v, want %v", err, ErrUnknown)
		}
		return
	}
	if err := exec.Command("unshare", "--user", "true").Run(); err != nil {
		t.Log("not tried, this machine makes no user namespaces: ", err)
		return
	}
	cmd := exec.Command("unshare", "--user", os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
