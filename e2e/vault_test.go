package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// A server is a running vault.
type server struct {
	addr string // http://127.0.0.1:port
	root *api.Client
	log  *output
	args []string
	home string
	env  []string // besides the clean one
	cmd  *exec.Cmd

	transit sync.Once // transit/ is mounted
}

// startDev is startBare, with userpass at its usual place.
func startDev(home, more string) (*server, error) {
	s, err := startBare(home, more)
	if err != nil {
		return nil, err
	}
	err = s.root.Sys().EnableAuthWithOptions("userpass", &api.EnableAuthOptions{Type: "userpass"})
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("enabling userpass: %w\n%s", err, s.log)
	}
	return s, nil
}

// startBare starts an unsealed server in memory, with KV version 2 at secret/. It
// trusts the stub of Okta, where there is one. more is added to its configuration.
// Its port is held until the tests end.
func startBare(home, more string) (*server, error) {
	port, _, err := holdPort()
	if err != nil {
		return nil, err
	}
	s := &server{addr: "http://" + port, home: home, log: &output{}}
	if err := os.Mkdir(s.home, 0o700); err != nil {
		return nil, err
	}
	if world.bao {
		more += "\nunsafe_allow_api_audit_creation = true\n"
	}
	file := filepath.Join(home, "vault.hcl")
	if err := os.WriteFile(file, []byte(more), 0o600); err != nil {
		return nil, err
	}
	if world.okta != nil {
		s.env = []string{"SSL_CERT_FILE=" + world.okta.Certificate()}
	}
	s.args = []string{"server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token", "-dev-listen-address=" + port, "-config=" + file}
	if err := s.start(); err != nil {
		return nil, err
	}
	if s.root, err = s.client(s.addr, "root"); err != nil {
		s.stop()
		return nil, err
	}
	// It answers before it is unsealed.
	for deadline := time.Now().Add(patience); !s.active(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("vault at %s stays sealed\n%s", s.addr, s.log)
		}
	}
	return s, nil
}

// active reports whether the server is unsealed and takes requests.
func (s *server) active() bool {
	resp, err := http.Get(s.addr + "/v1/sys/health")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// startRaft starts a server with raft storage that a test may kill, seal and
// start again. The key unseals it.
func startRaft(t *testing.T) (s *server, key string) {
	t.Helper()
	needVault(t)
	home := tempDir(t)
	port, cluster := mustPort(t), mustPort(t)
	s = &server{addr: "http://" + port, home: home, log: &output{}}
	config := fmt.Sprintf(`
storage "raft" {
  path    = %q
  node_id = "n1"
}
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}
api_addr      = %q
cluster_addr  = %q
disable_mlock = true
`, home, port, cluster, s.addr, "https://"+cluster)
	file := filepath.Join(home, "vault.hcl")
	write(t, file, config)
	s.args = []string{"server", "-config=" + file}
	check(t, s.start())
	t.Cleanup(s.stop)
	client, err := s.client(s.addr, "")
	check(t, err)
	made, err := client.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatalf("initialising raft: %v\n%s", err, s.log)
	}
	client.SetToken(made.RootToken)
	s.root = client
	s.unseal(t, made.Keys[0])
	return s, made.Keys[0]
}

// unseal returns when the server is active.
func (s *server) unseal(t *testing.T, key string) {
	t.Helper()
	if _, err := s.root.Sys().Unseal(key); err != nil {
		t.Fatalf("unsealing: %v\n%s", err, s.log)
	}
	eventually(t, "the server is active", s.active)
}

// start runs the server and waits until it answers at all.
func (s *server) start() error {
	s.cmd = exec.Command(world.vault, s.args...)
	s.cmd.Env = cleanEnv(s.home, s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	tie(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		resp, err := http.Get(s.addr + "/v1/sys/seal-status")
		if err == nil {
			resp.Body.Close()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.stop()
	return fmt.Errorf("vault does not answer at %s\n%s", s.addr, s.log)
}

// stop kills the server: nothing of it is worth keeping, and a test of a dead
// Vault wants it dead.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// client speaks to addr, which is the server, a gate before it, or stepup.
func (s *server) client(addr, token string) (*api.Client, error) {
	config := api.DefaultConfig()
	config.Address = addr
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	return client, nil
}

// write and read are root's own calls; they end the test when they fail.
func (s *server) write(t *testing.T, path string, data map[string]any) *api.Secret {
	t.Helper()
	secret, err := s.root.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatalf("root writes %s: %v", path, err)
	}
	return secret
}

func (s *server) read(t *testing.T, path string) *api.Secret {
	t.Helper()
	secret, err := s.root.Logical().ReadWithContext(t.Context(), path)
	if err != nil || secret == nil {
		t.Fatalf("root reads %s: %v, %v", path, secret, err)
	}
	return secret
}

// transitKey makes a key of that name in the engine at transit/.
func (s *server) transitKey(t *testing.T, name string) {
	t.Helper()
	s.transit.Do(func() { s.write(t, "sys/mounts/transit", map[string]any{"type": "transit"}) })
	s.write(t, "transit/keys/"+name, nil)
}

// lookup is what the server says of a token.
func (s *server) lookup(t *testing.T, token string) map[string]any {
	t.Helper()
	info, err := s.root.Auth().Token().LookupWithContext(t.Context(), token)
	check(t, err)
	return info.Data
}

// output collects what a program prints; it is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tempDir is short enough for the path of a unix socket, which t.TempDir is not.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(world.dir, "t")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	check(t, os.WriteFile(file, []byte(text), 0o600))
}

// check ends the test when a step of its setup fails.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long a test waits for what must come: a busy machine is slow,
// and only a failure waits that long.
const patience = 60 * time.Second

// eventually polls for what another process does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
