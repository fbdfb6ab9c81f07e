//go:build !windows

package agent_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/listener"
)

// A manager is the service manager of a test: it listens and never accepts.
type manager struct {
	tcp  *net.TCPListener
	unix *net.UnixListener
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "su")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &manager{path: filepath.Join(dir, "vault.sock")}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	unix, err := net.Listen("unix", m.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close() })
	m.tcp, m.unix = tcp.(*net.TCPListener), unix.(*net.UnixListener)
	return m
}

func (m *manager) files(t *testing.T) []*os.File {
	t.Helper()
	return []*os.File{copied(t, m.tcp), copied(t, m.unix)}
}

func copied(t *testing.T, socket interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (m *manager) config(t *testing.T) agent.Config {
	t.Helper()
	vault, err := url.Parse("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return agent.Config{
		Vaults: []agent.Vault{{Name: "v", Address: vault}},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: strings.Replace(m.tcp.Addr().String(), "127.0.0.1", "localhost", 1), Vault: "v"},
			{Network: "unix", Address: m.path + "/.", Vault: "v"},
		},
	}
}

// run starts an agent; stop ends it and returns what Run did.
func run(t *testing.T, c agent.Config, sockets []*os.File) (a *agent.Agent, stop func() error) {
	t.Helper()
	ready, done := make(chan struct{}), make(chan error, 1)
	a = agent.New(c, agent.Options{
		RuntimeDir: filepath.Join(t.TempDir(), "run"), Log: slog.New(slog.DiscardHandler),
		Sockets: sockets, Ready: func() { close(ready) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- a.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		return a, func() error { return err }
	}
	return a, func() error { cancel(); return <-done }
}

// answers asks for something that the agent answers by itself, as there is no
// Vault behind it.
func (m *manager) answers(t *testing.T, network string) bool {
	t.Helper()
	address := m.tcp.Addr().String()
	if network == "unix" {
		address = m.path
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	resp, err := client.Get("http://" + m.tcp.Addr().String() + "/v1/sys/health")
	if err != nil {
		t.Log(err)
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(body), "stepup: ")
}

func TestPassedSockets(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	if err := os.Chmod(m.path, 0o666); err != nil {
		t.Fatal(err)
	}
	_, stop := run(t, m.config(t), m.files(t))
	for _, network := range []string{"tcp", "unix"} {
		if !m.answers(t, network) {
			t.Errorf("the %s socket is not served", network)
		}
	}
	info, err := os.Lstat(m.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// They are the service manager's: a stop neither closes nor removes them.
	for network, address := range map[string]string{"tcp": m.tcp.Addr().String(), "unix": m.path} {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Errorf("after the stop: %v", err)
			continue
		}
		_ = conn.Close()
	}
}

// A reload may leave a socket alone, and take it up again.
func TestPassedSocketsOverReloads(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	c := m.config(t)
	a, stop := run(t, c, m.files(t))
	says := func() bool {
		return slices.ContainsFunc(a.Status(t.Context()).Notes, func(note string) bool { return strings.Contains(note, m.path) })
	}
	if says() {
		t.Errorf("a socket that is served is complained of: %q", a.Status(t.Context()).Notes)
	}
	less := c
	less.Listeners = c.Listeners[:1]
	if err := a.Reload(t.Context(), less); err != nil {
		t.Fatal(err)
	}
	if !says() {
		t.Errorf("nobody serves %s, and the status does not say so: %q", m.path, a.Status(t.Context()).Notes)
	}
	if err := a.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if says() || !m.answers(t, "unix") {
		t.Error("the socket is not served again")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestPassedSocketsThatAreNone(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	everywhere, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = everywhere.Close() })
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = datagrams.Close() })
	connection, err := net.Dial("tcp", m.tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	for name, tt := range map[string]struct {
		passed []interface{ File() (*os.File, error) }
		says   string
	}{
		"open to the network": {[]interface{ File() (*os.File, error) }{everywhere.(*net.TCPListener)}, "not a loopback address"},
		"datagrams":           {[]interface{ File() (*os.File, error) }{datagrams.(*net.UDPConn)}, "no listening stream socket"},
		"a connection":        {[]interface{ File() (*os.File, error) }{connection.(*net.TCPConn)}, "no listening stream socket"},
		"twice":               {[]interface{ File() (*os.File, error) }{m.tcp, m.tcp}, "two sockets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var files []*os.File
			for _, p := range tt.passed {
				files = append(files, copied(t, p))
			}
			_, stop := run(t, m.config(t), files)
			if err := stop(); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Run = %v, want something with %q", err, tt.says)
			}
		})
	}
	t.Run("a file", func(t *testing.T) {
		t.Parallel()
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		_, stop := run(t, m.config(t), []*os.File{f})
		if err := stop(); err == nil || !strings.Contains(err.Error(), "no listening stream socket") {
			t.Errorf("Run = %v", err)
		}
	})
	t.Run("its file is gone", func(t *testing.T) {
		t.Parallel()
		own := newManager(t)
		if err := os.Remove(own.path); err != nil {
			t.Fatal(err)
		}
		_, stop := run(t, own.config(t), own.files(t))
		if err := stop(); err == nil || !strings.Contains(err.Error(), "not there any more") {
			t.Errorf("Run = %v", err)
		}
	})
	t.Run("others may replace it", func(t *testing.T) {
		t.Parallel()
		own := newManager(t)
		if err := os.Chmod(filepath.Dir(own.path), 0o777); err != nil {
			t.Fatal(err)
		}
		_, stop := run(t, own.config(t), own.files(t))
		if err := stop(); !errors.Is(err, listener.ErrUnsafe) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestAlive(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	a, stop := run(t, m.config(t), m.files(t))
	limited, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := a.Alive(limited); err != nil {
		t.Errorf("a running agent: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Alive(limited); err == nil {
		t.Error("an agent that has stopped is said to be alive")
	}
}
