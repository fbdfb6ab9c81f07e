package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// clientEnv makes the test binary a client: "network address", with " hidden" at the
// end for one that hides itself. See TestMain.
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
	if rest, hide := strings.CutSuffix(address, " hidden"); hide {
		address = rest
		if err := hideProcess(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	c, err := net.Dial(network, address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = c.Close()
}

// startClient starts a client process; prepare may change how. The client ends
// with the test. The result is the process number.
func startClient(t *testing.T, addr net.Addr, prepare func(*exec.Cmd)) int {
	t.Helper()
	exe := "/proc/self/exe" // reaches the binary also for a user who may not read its folder
	if _, err := os.Stat(exe); err != nil {
		if exe, err = os.Executable(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{clientEnv + "=" + addr.Network() + " " + addr.String()}
	cmd.Dir = "/"
	if prepare != nil {
		prepare(cmd)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "connected\n" {
		t.Fatalf("client said %q, %v", line, err)
	}
	return cmd.Process.Pid
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func accept(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(time.Minute))
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
