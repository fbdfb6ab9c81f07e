package agent

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	stranger  = 65534
	clientEnv = "STEPUP_TEST_AGENT_CLIENT" // what the stranger does: WORD NETWORK ADDRESS
)

// TestStrangerProcess is not a test but what the second user runs; without the
// variable there is nothing to do.
func TestStrangerProcess(t *testing.T) {
	spec, ok := os.LookupEnv(clientEnv)
	if !ok {
		return
	}
	f := strings.Fields(spec)
	be := map[string]func(network, address string) error{"crowd": beCrowd, "scrape": beCollector}[f[0]]
	if err := be(f[1], f[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beCollector reads the metrics and prints the answer.
func beCollector(network, address string) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// runStranger runs this binary as a second user and returns its output.
func runStranger(t *testing.T, what string, addr net.Addr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	// This path reaches the binary without its folder, which is root's own.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStrangerProcess$")
	cmd.Env = []string{clientEnv + "=" + what + " " + addr.Network() + " " + addr.String()}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the second user: %v, %s", err, stderr.String())
	}
	return string(out)
}

// sharedTempDir is a short folder that a second user can be let into: the test
// framework's own folders are closed and their names too long for a socket.
func sharedTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stepup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// exchange sends a raw request on an open connection of ours.
func exchange(t *testing.T, c net.Conn, request string) *http.Response {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}
