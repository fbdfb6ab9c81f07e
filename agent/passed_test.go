//go:build !windows

package agent_test

import (
	"context"
	"errors"
	"io"
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
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "vault.sock")
	return &manager{path: path, tcp: listen(t, "tcp", "127.0.0.1:0").(*net.TCPListener), unix: listen(t, "unix", path).(*net.UnixListener)}
}

// listen listens until the test ends.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func (m *manager) files(t *testing.T) []*os.File {
	t.Helper()
	return []*os.File{copied(t, m.tcp), copied(t, m.unix)}
}

func copied(t *testing.T, socket interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := socket.File()
	must(t, err)
	return f
}

func (m *manager) config() agent.Config {
	return agent.Config{
		Vaults: []agent.Vault{{Name: "v", Address: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: strings.Replace(m.tcp.Addr().String(), "127.0.0.1", "localhost", 1), Vault: "v"},
			{Network: "unix", Address: m.path + "/.", Vault: "v"},
		},
	}
}

// run starts an agent with sockets, by default the manager's own.
func (m *manager) run(t *testing.T, sockets ...*os.File) (a *agent.Agent, stop func() error) {
	t.Helper()
	if len(sockets) == 0 {
		sockets = m.files(t)
	}
	a, stop, _ = run(m.config(), agent.Options{RuntimeDir: filepath.Join(t.TempDir(), "run"), Sockets: sockets})
	return a, stop
}

// wantRefused checks that no agent runs with sockets, by default the manager's own.
func (m *manager) wantRefused(t *testing.T, says string, sockets ...*os.File) {
	t.Helper()
	_, stop := m.run(t, sockets...)
	if err := stop(); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("Run = %v, want something with %q", err, says)
	}
}

// answers asks for something that the agent answers by itself, as there is no
// Vault behind it.
func (m *manager) answers(t *testing.T, network string) bool {
	t.Helper()
	address := m.tcp.Addr().String()
	if network == "unix" {
		address = m.path
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialTo(network, address)}}
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
	must(t, os.Chmod(m.path, 0o666))
	_, stop := m.run(t)
	for _, network := range []string{"tcp", "unix"} {
		if !m.answers(t, network) {
			t.Errorf("the %s socket is not served", network)
		}
	}
	info, err := os.Lstat(m.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	must(t, stop())
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
	c := m.config()
	a, stop := m.run(t)
	says := func() bool {
		return slices.ContainsFunc(a.Status(t.Context()).Notes, func(note string) bool { return strings.Contains(note, m.path) })
	}
	if says() {
		t.Errorf("a socket that is served is complained of: %q", a.Status(t.Context()).Notes)
	}
	less := c
	less.Listeners = c.Listeners[:1]
	must(t, a.Reload(t.Context(), less))
	if !says() {
		t.Errorf("nobody serves %s, and the status does not say so: %q", m.path, a.Status(t.Context()).Notes)
	}
	must(t, a.Reload(t.Context(), c))
	if says() || !m.answers(t, "unix") {
		t.Error("the socket is not served again")
	}
	must(t, stop())
}

func TestPassedSocketsThatAreNone(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	everywhere := listen(t, "tcp", "0.0.0.0:0").(*net.TCPListener)
	datagrams, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { _ = datagrams.Close() })
	connection, err := net.DialTCP("tcp", nil, m.tcp.Addr().(*net.TCPAddr))
	must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	must(t, err)
	for name, tt := range map[string]struct {
		passed []*os.File
		says   string
	}{
		"open to the network": {[]*os.File{copied(t, everywhere)}, "not a loopback address"},
		"datagrams":           {[]*os.File{copied(t, datagrams)}, "no listening stream socket"},
		"a connection":        {[]*os.File{copied(t, connection)}, "no listening stream socket"},
		"twice":               {[]*os.File{copied(t, m.tcp), copied(t, m.tcp)}, "two sockets"},
		"a file":              {[]*os.File{file}, "no listening stream socket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m.wantRefused(t, tt.says, tt.passed...)
		})
	}
	t.Run("its file is gone", func(t *testing.T) {
		t.Parallel()
		own := newManager(t)
		must(t, os.Remove(own.path))
		own.wantRefused(t, "not there any more")
	})
	t.Run("others may replace it", func(t *testing.T) {
		t.Parallel()
		own := newManager(t)
		must(t, os.Chmod(filepath.Dir(own.path), 0o777))
		_, stop := own.run(t)
		if err := stop(); !errors.Is(err, listener.ErrUnsafe) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestAlive(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	a, stop := m.run(t)
	limited, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := a.Alive(limited); err != nil {
		t.Errorf("a running agent: %v", err)
	}
	must(t, stop())
	if err := a.Alive(limited); err == nil {
		t.Error("an agent that has stopped is said to be alive")
	}
}
