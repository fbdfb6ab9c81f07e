package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// client is not the default one, whose idle connections every server of httptest
// closes at its end, under the requests of other tests.
var client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}

// A rig is a running agent in front of a development Vault, with a person who
// answers by a function.
type rig struct {
	vault   *devvault.Server
	token   string // alice's, whose reads of kv/data/prod/* need the method corp
	url     string // of the agent's TCP listener
	socket  string
	dir     string
	agent   *agent.Agent
	config  agent.Config
	log     *lockedBuffer
	person  func(context.Context, prompt.Request) (string, error)
	push    *devvault.Push
	asked   *prompttest.Script
	keyring keyring.Keyring
	stop    func() // ends the agent; the end of the test does so, too
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, nil)
}

// newRigWith has a keyring, unless it is nil.
func newRigWith(t testing.TB, k keyring.Keyring) *rig {
	t.Helper()
	return newRigAt(t, devvault.Enterprise, k)
}

func newRigAt(t testing.TB, server devvault.Flavor, k keyring.Keyring) *rig {
	t.Helper()
	r := &rig{keyring: k, vault: devvault.New(devvault.Config{Flavor: server, Record: true}), dir: t.TempDir(), log: &lockedBuffer{}}
	address, err := r.vault.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.vault.Close)
	r.furnish(t)
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrUnavailable }
	r.asked = prompttest.Func(func(ctx context.Context, q prompt.Request) (string, error) { return r.person(ctx, q) })
	r.config = r.configFor(t, address)
	r.start(t)
	return r
}

func (r *rig) furnish(t testing.TB) {
	t.Helper()
	v := r.vault
	v.AddTOTPMethod("corp")
	r.push = v.AddPushMethod("phone", "okta")
	v.AddPolicy("prod",
		devvault.PathRule{Path: "kv/data/prod/*", Capabilities: []string{"create", "read", "update"}, MFAMethods: []string{"corp"}},
		devvault.PathRule{Path: "kv/data/call/*", Capabilities: []string{"read"}, MFAMethods: []string{"phone"}},
		devvault.PathRule{Path: "kv/data/dev/*", Capabilities: []string{"read"}})
	v.AddKV("kv")
	alice := v.AddUser("userpass", "alice", "pw", "prod")
	if _, _, err := v.EnrolTOTP("corp", alice); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"kv/data/prod/db", "kv/data/dev/db", "kv/data/call/db"} {
		if err := v.PutSecret(path, map[string]any{"path": path}); err != nil {
			t.Fatal(err)
		}
	}
	v.AddUser("stepup", "alice", "pw", "prod")
	if err := v.AddLoginEnforcement("ups", []string{"corp"}, []string{"stepup"}); err != nil {
		t.Fatal(err)
	}
	r.token = v.CreateToken([]string{"default", "prod"}, alice)
}

func (r *rig) configFor(t testing.TB, address string) agent.Config {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	guards := func(name, path, method string) rule.Rule {
		p, err := rule.ParsePattern(path)
		if err != nil {
			t.Fatal(err)
		}
		return rule.Rule{Name: name, Paths: []rule.Pattern{p}, Methods: []string{method}, Grant: rule.Grant{Kind: rule.HeaderGrant}}
	}
	r.socket = filepath.Join(r.dir, "vault.sock")
	return agent.Config{
		File:   "test.hcl",
		Vaults: []agent.Vault{{Name: "corp", Address: u, MaxBody: 1 << 20}},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: "127.0.0.1:0", Vault: "corp"},
			{Network: "unix", Address: r.socket, Vault: "corp"},
		},
		Methods:  []agent.Method{{Name: "corp", Type: "totp", Digits: 6}, {Name: "phone", Type: "okta"}},
		Rules:    rule.Rules{guards("prod", "kv/data/prod/*", "corp"), guards("call", "kv/data/call/*", "phone")},
		LoginMFA: agent.LoginMFA{Enabled: true},
		Relay:    agent.Relay{MaxKeptBodies: 64 << 20},
		Audit:    agent.Audit{File: filepath.Join(r.dir, "audit.jsonl")},
		Prompt:   agent.Prompt{Prompters: []prompt.Named{{Name: "script", Prompter: r.asked}}},
	}
}

// start runs the agent until the test ends and checks that it ends cleanly.
func (r *rig) start(t testing.TB) {
	t.Helper()
	ready := make(chan struct{})
	r.agent = agent.New(r.config, agent.Options{
		RuntimeDir: filepath.Join(r.dir, "run"), Version: "test", Keyring: r.keyring, Ready: func() { close(ready) },
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.agent.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("agent ended: %v", err)
	}
	r.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	t.Cleanup(r.stop)
	r.url = "http://" + r.agent.Status(t.Context()).Listeners[0].Address
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// code answers with the person's code of this moment.
func (r *rig) code(context.Context, prompt.Request) (string, error) {
	return r.vault.UnusedCode("corp", "alice"), nil
}

// wait ends a test whose prompt never comes instead of hanging.
func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("nobody was asked")
	}
}

type reply struct {
	status  int
	body    string
	outcome string
}

func (r *rig) do(t testing.TB, method, path, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{resp.StatusCode, string(data), resp.Header.Get("Stepup-Outcome")}
}

// serveAt serves h until the test ends or the server is closed. Its Addr is where
// it listens.
func serveAt(t *testing.T, h http.Handler, address string) *http.Server {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	// A child that another test has just forked holds the old listener until it has executed.
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < 3000; tries++ {
		time.Sleep(10 * time.Millisecond)
		ln, err = net.Listen("tcp", address)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Skipf("needs an address that the loopback interface lacks: %v", err) // macOS has 127.0.0.1 alone
	}
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Addr: ln.Addr().String(), Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return server
}
