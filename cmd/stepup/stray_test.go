//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a server sends beyond its answer is not in the agent's output.
func TestStrayBytesAreNotLogged(t *testing.T) {
	t.Parallel()
	const secret = "hvs.STRAY"
	vault, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer vault.Close()
	answered, closed := make(chan struct{}), make(chan error, 1)
	go func() { closed <- straying(vault, answered, secret) }()
	a := startAgent(t, vault.Addr().String())
	app := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
	}}}
	defer app.CloseIdleConnections()
	resp, err := app.Get("http://localhost/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "{}" || err != nil {
		t.Errorf("answer %q, %v", body, err)
	}
	close(answered)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if wrote := a.stop(t); strings.Contains(wrote, secret) || !strings.Contains(wrote, "msg=stopped") {
		t.Errorf("the agent wrote:\n%s", wrote)
	}
}

// A process is an agent of its own, and what it wrote so far.
type process struct {
	*exec.Cmd
	socket string
	output *bufio.Reader
	wrote  strings.Builder
}

// startAgent runs an agent for the Vault at address, without a keyring, until it is
// ready.
func startAgent(t *testing.T, address string) *process {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "stepup.hcl")
	p := &process{socket: filepath.Join(dir, "vault.sock")}
	config := "vault \"corp\" { address = \"http://" + address + "\" }\nlistener \"unix\" { address = \"" + p.socket + "\" }\n" +
		"cache { store = \"memory\" }\nprompt { use = [\"attached\"] }\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.Cmd = exec.Command(self)
	p.Args = []string{"stepup", "agent", "--config", file} // TestMain knows it by its name
	p.Env = append(os.Environ(), "STEPUP_RUNTIME_DIR="+filepath.Join(dir, "run"), "STEPUP_STATE_DIR="+dir)
	pipe, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // where the test ended before it was stopped
	p.output = bufio.NewReader(pipe)
	for !strings.Contains(p.wrote.String(), "msg=ready") {
		line, err := p.output.ReadString('\n')
		if p.wrote.WriteString(line); err != nil {
			t.Fatalf("%v after %s", err, p.wrote.String())
		}
	}
	return p
}

// stop ends the agent as a service manager does, and returns all that it wrote.
func (p *process) stop(t *testing.T) string {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(p.output)
	if err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	return p.wrote.String() + string(rest)
}

// straying is a server that answers one request and then, once the answer has
// arrived, sends another one without a request. It returns when its client has
// closed the connection for that.
func straying(ln net.Listener, answered <-chan struct{}, secret string) error {
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	requests := bufio.NewReader(c)
	if _, err := http.ReadRequest(requests); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		return err
	}
	<-answered
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Token: "+secret+"\r\n\r\n"); err != nil {
		return err
	}
	_, _ = requests.ReadByte()
	return nil
}
