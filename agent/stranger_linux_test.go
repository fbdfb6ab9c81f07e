//go:build linux

package agent_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
)

const (
	// roleEnv makes this binary another process: ROLE and its arguments.
	roleEnv    = "STEPUP_TEST_AGENT_ROLE"
	smallFiles = 128
	// crowdSize is how many connections a stranger has open at once.
	crowdSize = 2000
	stranger  = 65534
)

// TestOtherProcess is not a test but what another process does; without the variable
// there is nothing to do.
func TestOtherProcess(t *testing.T) {
	role, ok := os.LookupEnv(roleEnv)
	if !ok {
		return
	}
	args := append(strings.Fields(role), "", "")
	be := map[string]func(first, second string) error{"small": beSmallAgent, "crowd": beCrowd, "scrape": beCollector}[args[0]]
	if err := be(args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beSmallAgent runs an agent that may open few files, with a listener of each kind,
// prints their addresses, a line each, and ends with its standard input. What it logs at
// warn and above is its standard error.
func beSmallAgent(dir, _ string) error {
	limit := syscall.Rlimit{Cur: smallFiles, Max: smallFiles}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	passed, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	socket, err := passed.File()
	if err != nil {
		return err
	}
	a, end, started := run(agent.Config{
		Vaults: []agent.Vault{{Name: "corp", Address: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: "127.0.0.1:0", Vault: "corp"},
			{Network: "tcp", Address: passed.Addr().String(), Vault: "corp"},
			{Network: "unix", Address: filepath.Join(dir, "vault.sock"), Vault: "corp"},
		},
		Telemetry: agent.Telemetry{Address: "127.0.0.1:0"},
	}, agent.Options{
		RuntimeDir: filepath.Join(dir, "run"), Sockets: []*os.File{socket},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	_ = passed.Close()
	if !started {
		return end()
	}
	s := a.Status(context.Background())
	for _, l := range s.Listeners {
		fmt.Println(l.Network, l.Address)
	}
	fmt.Println("tcp", s.Telemetry)
	fmt.Println("done")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return end()
}

// beCrowd keeps connections to an address open, prints a line when it has as many
// as it can have, and then replaces the oldest by a new one, until its standard
// input ends. They send nothing.
func beCrowd(network, address string) error {
	var open [crowdSize]net.Conn
	for i := range open {
		// The agent may close it at once, or be too busy: it is the attempt that counts.
		open[i], _ = net.DialTimeout(network, address, time.Second)
	}
	fmt.Println("full")
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	for i := 0; ; i++ {
		select {
		case <-left:
			return nil
		case <-time.After(5 * time.Millisecond): // more would only measure the processor
		}
		at := i % crowdSize
		if open[at] != nil {
			_ = open[at].Close()
		}
		open[at], _ = net.DialTimeout(network, address, time.Second)
	}
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

// startChild runs this binary in another role. The child ends with the test.
func startChild(t *testing.T, role string, as *syscall.SysProcAttr) (*bufio.Scanner, *lockedBuffer) {
	t.Helper()
	// This path reaches the binary without its folder, which is root's own.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOtherProcess$")
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{roleEnv + "=" + role}, "/", as
	log := &lockedBuffer{}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v, %s", role, err, log)
		}
	})
	return bufio.NewScanner(out), log
}

// startStranger runs this binary as a second user.
func startStranger(t *testing.T, role string) *bufio.Scanner {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	out, _ := startChild(t, role, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}})
	return out
}

// sharedTempDir is a short folder that a second user can be let into: the test
// framework's own folders are closed and their names too long for a socket.
func sharedTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stepup")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// exchange sends a raw request of ours on an open connection.
func exchange(t *testing.T, c net.Conn, path, host string) *http.Response {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, err)
	return resp
}

// Another user that opens as many connections as the system gives, and goes on
// opening, keeps no listener of the agent from its owner.
func TestCrowdOfStrangersKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	dir := sharedTempDir(t)
	out, _ := startChild(t, "small "+dir, nil)
	var addresses [][2]string
	for out.Scan() && out.Text() != "done" {
		network, address, _ := strings.Cut(out.Text(), " ")
		addresses = append(addresses, [2]string{network, address})
	}
	runtime := filepath.Join(dir, "run")
	socket := filepath.Join(runtime, agent.ControlSocket)
	lease, err := control.NewClient(socket).Lease(t.Context(), control.Wanted{})
	must(t, err)
	addresses = append(addresses, [2]string{"unix", socket}, [2]string{"tcp", lease.Address})
	for _, a := range addresses {
		if a[0] == "unix" { // the modes of others are not what is tested here
			for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Dir(a[1]): 0o755, a[1]: 0o666} {
				must(t, os.Chmod(path, mode))
			}
		}
		crowd := startStranger(t, "crowd "+a[0]+" "+a[1])
		if !crowd.Scan() {
			t.Fatalf("%s %s: no crowd", a[0], a[1])
		}
	}
	if len(addresses) != 6 {
		t.Errorf("%d listeners, want 6: %q", len(addresses), addresses)
	}
	for _, a := range addresses {
		host := a[1]
		if a[0] == "unix" {
			host = "localhost"
		}
		for range 5 {
			conn, err := net.DialTimeout(a[0], a[1], 20*time.Second)
			must(t, err)
			if resp := exchange(t, conn, "/v1/status", host); resp.StatusCode == http.StatusForbidden {
				t.Fatalf("%s %s: the owner got %s", a[0], a[1], resp.Status)
			}
			_ = conn.Close()
		}
	}
}

// An agent whose own user has taken all of its files says so, and takes none of
// that user's connections for a stranger's: a look at the client needs a file too.
func TestFullAgentRefusesNoOwner(t *testing.T) {
	t.Parallel()
	out, log := startChild(t, "small "+sharedTempDir(t), nil)
	if !out.Scan() {
		t.Fatal("no agent")
	}
	_, address, _ := strings.Cut(out.Text(), " ")
	for out.Scan() && out.Text() != "done" {
	}
	var all []net.Conn
	for range 2 * smallFiles {
		c, err := net.Dial("tcp", address)
		must(t, err)
		defer c.Close()
		all = append(all, c)
	}
	eventually(t, "the log says so", func() bool {
		return strings.Contains(log.String(), "level=WARN msg=\"connections cannot be accepted")
	})
	for _, c := range all[:smallFiles/2] {
		_ = c.Close()
	}
	// Among these are the ones that got the last files, and had none for the look.
	for i, c := range all[smallFiles/2 : smallFiles+20] {
		resp := exchange(t, c, "/v1/own", address)
		if resp.StatusCode != http.StatusBadGateway {
			t.Fatalf("connection %d: %s, want 502: there is no Vault", i, resp.Status)
		}
	}
}

// A collector of another user gets the metrics only where the person has said so,
// and from the next connection on when that changes.
func TestMetricsForOtherUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := agent.Config{
		Vaults:    []agent.Vault{{Name: "corp", Address: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}},
		Listeners: []agent.Listener{{Network: "unix", Address: filepath.Join(dir, "vault.sock"), Vault: "corp"}},
		Telemetry: agent.Telemetry{Address: "127.0.0.1:0"},
	}
	a, _ := start(t, c, agent.Options{RuntimeDir: filepath.Join(dir, "run")})
	scrape := func() (text string) {
		for out := startStranger(t, "scrape tcp "+a.Status(t.Context()).Telemetry); out.Scan(); {
			text += out.Text() + "\n"
		}
		return text
	}
	if out := scrape(); !strings.HasPrefix(out, "403\n{\"errors\":[\"stepup: ") || !strings.Contains(out, "other_users = true") {
		t.Errorf("another user got %q", out)
	}
	c.Telemetry.OtherUsers = true
	must(t, a.Reload(t.Context(), c))
	if out := scrape(); !strings.HasPrefix(out, "200\n") || !strings.Contains(out, "stepup_upstream_up") {
		t.Errorf("another user got %q where that is allowed", out)
	}
}
