package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clientEnv makes the test binary a client: "network address", with " hidden" at the
// end for one that hides itself, " leaves" for one that leaves its connection to a child and
// ends. See TestMain.
const clientEnv = "STEPUP_TEST_PEER_CLIENT"

// TestMain is also the client of another user or another process: it connects,
// says so on its standard output, and holds the connection until its standard
// input ends.
func TestMain(m *testing.M) {
	spec, ok := os.LookupEnv(clientEnv)
	if !ok {
		os.Exit(m.Run())
	}
	network, address, _ := strings.Cut(spec, " ")
	address, hide := strings.CutSuffix(address, " hidden")
	address, leaves := strings.CutSuffix(address, " leaves")
	var err error
	if hide {
		err = hideProcess()
	}
	var c net.Conn
	if err == nil {
		c, err = net.Dial(network, address)
	}
	if err == nil && leaves {
		if err = leaveToChild(c); err == nil {
			return
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = c.Close()
}

// leaveToChild starts a child that has the connection c, and our standard input, until c is closed
// at the other end.
func leaveToChild(c net.Conn) error {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("no unix socket: %T", c)
	}
	file, err := unix.File()
	if err != nil {
		return err
	}
	cmd := exec.Command("cat")
	cmd.Stdin = file
	return cmd.Start()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A fixture is a listener of the test's own.
type fixture struct {
	t  testing.TB
	ln net.Listener
}

// newFixture listens on loopback, or on a unix socket.
func newFixture(t testing.TB, network string) fixture {
	t.Helper()
	address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "tcp": "[::]:0"}[network]
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	return newFixtureAt(t, network, address)
}

func newFixtureAt(t testing.TB, network, address string) fixture {
	t.Helper()
	ln, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return fixture{t, ln}
}

// dial connects this process, over IPv4 to a dual stack listener, and returns both ends.
func (f fixture) dial() (client, server net.Conn) {
	f.t.Helper()
	target := f.ln.Addr().String()
	if tcp, ok := f.ln.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		target = fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	client, err := net.Dial(f.ln.Addr().Network(), target)
	must(f.t, err)
	f.t.Cleanup(func() { _ = client.Close() })
	return client, f.accept()
}

// dialAlone connects this process, and lets use close the client's end, or leave it open. No
// child of another test has that end meanwhile: between its fork and its exec a child would have
// a copy, and what is closed here would stay open.
func (f fixture) dialAlone(use func(client *net.TCPConn)) (server net.Conn) {
	f.t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	client, server := f.dial()
	use(client.(*net.TCPConn))
	return server
}

func (f fixture) accept() net.Conn {
	f.t.Helper()
	_ = f.ln.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(time.Minute))
	c, err := f.ln.Accept()
	must(f.t, err)
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialFrom connects another process; prepare may change how. It ends with the test.
func (f fixture) dialFrom(prepare func(*exec.Cmd)) (pid int, c *Conn) {
	f.t.Helper()
	exe := "/proc/self/exe" // reaches the binary also for a user who may not read its folder
	if _, err := os.Stat(exe); err != nil {
		exe, err = os.Executable()
		must(f.t, err)
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{clientEnv + "=" + f.ln.Addr().Network() + " " + f.ln.Addr().String()}
	cmd.Dir = "/"
	if prepare != nil {
		prepare(cmd)
	}
	_, out := start(f.t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "connected\n" {
		f.t.Fatalf("client said %q, %v", line, err)
	}
	return cmd.Process.Pid, Identify(f.accept())
}

// start starts a program that ends with its standard input, which is when the test ends.
func start(t testing.TB, cmd *exec.Cmd) (stdin io.Writer, stdout io.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return in, out
}
