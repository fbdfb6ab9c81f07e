//go:build linux

package agent

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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
)

const (
	// smallEnv makes this binary an agent that may open few files: RUNTIME FOLDER.
	smallEnv   = "STEPUP_TEST_SMALL_AGENT"
	smallFiles = 128
	// crowdSize is how many connections a stranger has open at once.
	crowdSize = 2000
)

// TestSmallAgentProcess is not a test but an agent that may open few files; without
// the variable there is nothing to do.
func TestSmallAgentProcess(t *testing.T) {
	dir, ok := os.LookupEnv(smallEnv)
	if !ok {
		return
	}
	if err := beSmallAgent(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beSmallAgent runs an agent with a listener of each kind, prints their addresses,
// a line each, and ends with its standard input. What it logs at warn and above is
// its standard error.
func beSmallAgent(dir string) error {
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
	path := filepath.Join(dir, "vault.sock")
	ready := make(chan struct{})
	a := New(Config{
		Vaults: []Vault{{Name: "corp", Address: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}},
		Listeners: []Listener{
			{Network: "tcp", Address: "127.0.0.1:0", Vault: "corp"},
			{Network: "tcp", Address: passed.Addr().String(), Vault: "corp"},
			{Network: "unix", Address: path, Vault: "corp"},
		},
		Telemetry: Telemetry{Address: "127.0.0.1:0"},
	}, Options{
		RuntimeDir: filepath.Join(dir, "run"), Sockets: []*os.File{socket}, Ready: func() { close(ready) },
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	_ = passed.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ready:
	}
	for _, l := range (leaser{a}).Listeners() {
		fmt.Println(l.Network, l.Address)
	}
	fmt.Println("tcp", a.Status(ctx).Telemetry)
	fmt.Println("done")
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	return <-done
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

// startChild runs this binary in another role. The child ends with the test.
func startChild(t *testing.T, role string, as *syscall.SysProcAttr) (*bufio.Scanner, *childLog) {
	t.Helper()
	name, _, _ := strings.Cut(role, "=")
	test := map[string]string{smallEnv: "TestSmallAgentProcess", clientEnv: "TestStrangerProcess"}[name]
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+test+"$")
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{role}, "/", as
	log := &childLog{}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v, %s", role, err, log)
		}
	})
	return bufio.NewScanner(out), log
}

func startStranger(t *testing.T, what, network, address string) *bufio.Scanner {
	t.Helper()
	out, _ := startChild(t, clientEnv+"="+what+" "+network+" "+address,
		&syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}})
	return out
}

// Another user who opens as many connections as the system gives, and goes on
// opening, keeps no listener of the agent from its owner.
func TestCrowdOfStrangersKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	dir := sharedTempDir(t)
	out, _ := startChild(t, smallEnv+"="+dir, nil)
	var addresses [][2]string
	for out.Scan() && out.Text() != "done" {
		network, address, _ := strings.Cut(out.Text(), " ")
		addresses = append(addresses, [2]string{network, address})
	}
	runtime := filepath.Join(dir, "run")
	socket := filepath.Join(runtime, ControlSocket)
	lease, err := control.NewClient(socket).Lease(t.Context(), control.Wanted{})
	if err != nil {
		t.Fatal(err)
	}
	addresses = append(addresses, [2]string{"unix", socket}, [2]string{"tcp", lease.Address})
	for _, a := range addresses {
		if a[0] == "unix" { // the modes of others are not what is tested here
			for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Dir(a[1]): 0o755, a[1]: 0o666} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
		}
		crowd := startStranger(t, "crowd", a[0], a[1])
		if !crowd.Scan() {
			t.Fatalf("%s %s: no crowd", a[0], a[1])
		}
	}
	if len(addresses) != 6 {
		t.Errorf("%d listeners, want 6: %q", len(addresses), addresses)
	}
	for _, a := range addresses {
		for range 5 {
			if status, err := ask(t, a[0], a[1]); err != nil || status == http.StatusForbidden {
				t.Fatalf("%s %s: the owner got %d, %v", a[0], a[1], status, err)
			}
		}
	}
}

// ask sends a request of our own on a new connection.
func ask(t *testing.T, network, address string) (status int, err error) {
	t.Helper()
	d := net.Dialer{Timeout: 20 * time.Second}
	c, err := d.DialContext(t.Context(), network, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	host := address
	if network == "unix" {
		host = "localhost"
	}
	if _, err := io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

// An agent whose own user has taken all of its files says so, and takes none of
// that user's connections for a stranger's: a look at the client needs a file too.
func TestFullAgentRefusesNoOwner(t *testing.T) {
	t.Parallel()
	out, log := startChild(t, smallEnv+"="+sharedTempDir(t), nil)
	if !out.Scan() {
		t.Fatal("no agent")
	}
	_, address, _ := strings.Cut(out.Text(), " ")
	for out.Scan() && out.Text() != "done" {
	}
	var all []net.Conn
	for range 2 * smallFiles {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	log.await(t, "level=WARN msg=\"connections cannot be accepted")
	for _, c := range all[:smallFiles/2] {
		_ = c.Close()
	}
	// Among these are the ones that got the last files, and had none for the look.
	for i, c := range all[smallFiles/2 : smallFiles+20] {
		resp := exchange(t, c, "GET /v1/own HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n")
		if resp.StatusCode != http.StatusBadGateway {
			t.Fatalf("connection %d: %s, want 502: there is no Vault", i, resp.Status)
		}
	}
}

// A childLog is what a child has written to its standard error.
type childLog struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *childLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String implements fmt.Stringer.
func (l *childLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until text was written.
func (l *childLog) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(l.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was never logged", text)
		}
	}
}
