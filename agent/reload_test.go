package agent_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/prompt"
)

// A scene is an agent in the middle of its work: one answer streams, one prompt
// is open, and one token is cached.
type scene struct {
	*rig
	lines  chan string // of the stream, to be sent by Vault
	stream *bufio.Scanner
	answer chan struct{} // closed when the person answers
	reply  chan reply    // of the request that waits for them
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{rig: newTokenRig(t), lines: make(chan string), answer: make(chan struct{}), reply: make(chan reply, 1)}
	streaming := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for line := range s.lines {
			_, _ = io.WriteString(w, line+"\n")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(streaming.Close)
	address, err := url.Parse(streaming.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.config.Vaults = append(slices.Clone(s.config.Vaults), agent.Vault{Name: "events", Address: address})
	s.config.Listeners = append(slices.Clone(s.config.Listeners), agent.Listener{Network: "unix", Address: filepath.Join(s.dir, "events.sock"), Vault: "events"})
	if err := s.agent.Reload(t.Context(), s.config); err != nil {
		t.Fatal(err)
	}
	s.cache(t, "approved")
	s.subscribe(t)
	s.ask(t)
	return s
}

// cache reads under the rule whose token is cached after the first time.
func (s *scene) cache(t *testing.T, outcome string) {
	t.Helper()
	if got := s.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", s.token); got.status != 200 || got.outcome != outcome {
		t.Errorf("read of kv/data/deploy/web: %+v, want %s", got, outcome)
	}
}

func (s *scene) subscribe(t *testing.T) {
	t.Helper()
	way := &http.Transport{DialContext: dialUnix(filepath.Join(s.dir, "events.sock"))}
	t.Cleanup(way.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/v1/sys/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.lines <- "first" }()
	resp, err := way.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	s.stream = bufio.NewScanner(resp.Body)
	s.next(t, "first")
}

func (s *scene) next(t *testing.T, want string) {
	t.Helper()
	if !s.stream.Scan() || s.stream.Text() != want {
		t.Errorf("the stream says %q (%v), want %q", s.stream.Text(), s.stream.Err(), want)
	}
}

// ask sends a request for which the person is asked.
func (s *scene) ask(t *testing.T) {
	t.Helper()
	asked := make(chan struct{})
	s.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Kind != prompt.Password {
			return s.code(ctx, q)
		}
		close(asked)
		select {
		case <-s.answer:
			return "pw", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	go func() { s.reply <- s.do(t, "GET", "/v1/kv/data/secure/db", "", "X-Vault-Token", s.token) }()
	wait(t, asked)
}

// Whatever block of a configuration changes, nothing that is under way is
// dropped, and a cached token that still fits its rule serves on.
func TestReloadDropsNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *agent.Config, dir string){
		"nothing": func(*agent.Config, string) {},
		"vault": func(c *agent.Config, _ string) {
			c.Vaults[0].Timeout, c.Vaults[0].MaxBody = 100*time.Second, 10
			c.Vaults[1].Address = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
			c.Vaults = append(c.Vaults, agent.Vault{Name: "third", Address: c.Vaults[1].Address})
		},
		"listener": func(c *agent.Config, dir string) {
			c.Listeners = slices.DeleteFunc(c.Listeners, func(l agent.Listener) bool { return strings.HasSuffix(l.Address, "vault.sock") })
			c.Listeners = append(c.Listeners, agent.Listener{Network: "unix", Address: filepath.Join(dir, "new.sock"), Vault: "corp", RequireHeader: true})
		},
		"mfa_method": func(c *agent.Config, _ string) {
			c.Methods = []agent.Method{c.Methods[0], {Name: "new", Type: "totp"}}
		},
		"step_up": func(c *agent.Config, _ string) {
			c.Rules = rule.Rules{c.Rules[0]} // the rule of the prompt is gone
			c.Rules[0].Silent = true
		},
		"login_mfa": func(c *agent.Config, _ string) { c.LoginMFA = agent.LoginMFA{Prefer: []string{"corp"}} },
		"prompt": func(c *agent.Config, _ string) {
			// The next question, for the code, goes to the new prompter.
			other := prompt.Named{Name: "other", Prompter: c.Prompt.Prompters[0].Prompter}
			c.Prompt = agent.Prompt{Prompters: []prompt.Named{other}, Timeout: 40 * time.Second, Attempts: 1, MaxPending: 1}
		},
		"cache":     func(c *agent.Config, _ string) { c.Cache.MaxTTL, c.Cache.LockOn = time.Hour, []string{"screen_lock"} },
		"audit":     func(c *agent.Config, dir string) { c.Audit.File = filepath.Join(dir, "other.jsonl") },
		"audit off": func(c *agent.Config, _ string) { c.Audit.File = "" },
		"telemetry": func(c *agent.Config, _ string) { c.Telemetry.Address = "127.0.0.1:0" },
		"relay":     func(c *agent.Config, _ string) { c.Relay.MaxKeptBodies = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c := s.config
			c.Vaults, c.Listeners, c.Rules = slices.Clone(c.Vaults), slices.Clone(c.Listeners), slices.Clone(c.Rules)
			change(&c, s.dir)
			c.Changes = name + " changed"
			if err := s.agent.Reload(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			s.lines <- "second"
			s.next(t, "second")
			s.cache(t, "cached")
			close(s.answer)
			if got := <-s.reply; got.status != 200 || got.outcome != "approved" {
				t.Errorf("the request that waited for the person: %+v", got)
			}
			close(s.lines)
			if s.stream.Scan() || s.stream.Err() != nil {
				t.Errorf("the end of the stream: %q, %v", s.stream.Text(), s.stream.Err())
			}
			status := s.agent.Status(t.Context())
			if r := status.Reload; r == nil || r.Changes != c.Changes || r.Error != "" || r.Time.IsZero() || status.ConfigError != "" {
				t.Errorf("the status says %+v, %q", r, status.ConfigError)
			}
		})
	}
}

// What happened under the old file is all there, and what happens next is in the
// new one.
func TestReloadOfTheAuditLog(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first, second := s.config.Audit.File, filepath.Join(s.dir, "other.jsonl")
	s.config.Audit.File = second
	if err := s.agent.Reload(t.Context(), s.config); err != nil {
		t.Fatal(err)
	}
	close(s.answer)
	<-s.reply
	close(s.lines)
	s.cache(t, "cached")
	for file, want := range map[string]string{first: `"event":"approved","rule":"secure"`, second: `"event":"cached","rule":"deploy"`} {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s has no %s (%v):\n%s", filepath.Base(file), want, err, text)
		}
	}
}

// What a changed configuration no longer wants is not served: a token that was
// made under other terms.
func TestReloadDropsTokens(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(g *rule.Grant){
		"policies": func(g *rule.Grant) { g.Policies = nil },
		"uses":     func(g *rule.Grant) { g.NumUses = 5 },
		"parent":   func(g *rule.Grant) { g.NoParent = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTokenRig(t)
			read := func(want string) {
				t.Helper()
				if got := r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token); got.outcome != want {
					t.Errorf("%+v, want %s", got, want)
				}
			}
			read("approved")
			read("cached")
			c := r.config
			c.Rules = slices.Clone(c.Rules)
			change(&c.Rules[0].Grant)
			if err := r.agent.Reload(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			asked := len(r.asked.Requests())
			r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
			if len(r.asked.Requests()) == asked {
				t.Error("nobody was asked: the token from before still serves")
			}
		})
	}
}

// A token never goes to another server than the one that made it.
func TestReloadOfAnAddress(t *testing.T) {
	t.Parallel()
	elsewhere := devvault.New(devvault.Config{Record: true})
	address, err := elsewhere.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)
	r := newTokenRig(t)
	r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
	c := r.config
	c.Vaults = slices.Clone(c.Vaults)
	if c.Vaults[0].Address, err = url.Parse(address); err != nil {
		t.Fatal(err)
	}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token)
	sent := elsewhere.Requests()
	if len(sent) == 0 {
		t.Error("the other server was not asked")
	}
	for _, q := range sent {
		if token := q.Header.Get("X-Vault-Token"); token != "" && token != r.token {
			t.Errorf("the other server was sent a token that is not the app's")
		}
	}
}

// The store changes under the tokens: they serve on, and are afterwards where the
// configuration wants them and nowhere else.
func TestReloadOfTheStore(t *testing.T) {
	t.Parallel()
	kept := &cachetest.Keyring{}
	r := withTokens(t, newRigWith(t, kept))
	read := func(url, want string) {
		t.Helper()
		at := *r
		at.url = url
		if got := at.do(t, "GET", "/v1/kv/data/deploy/web", "", "X-Vault-Token", r.token); got.outcome != want {
			t.Errorf("%+v, want %s", got, want)
		}
	}
	keep := func(keyring bool) {
		t.Helper()
		if r.config.Cache.Store = agent.StoreMemory; keyring {
			r.config.Cache.Store = agent.StoreKeyring
		}
		if err := r.agent.Reload(t.Context(), r.config); err != nil {
			t.Fatal(err)
		}
		read(r.url, "cached")
		eventually(t, fmt.Sprintf("kept in the keyring: %v", keyring), func() bool { return tokensIn(kept) == keyring })
	}
	read(r.url, "approved")
	if tokensIn(kept) {
		t.Error("kept in the keyring although it is to be in memory")
	}
	keep(true)
	eventually(t, "the callers' key is kept", func() bool { return len(kept.Items()) >= 3 })
	read(secondAgent(t, r, kept), "cached") // as after a restart
	keep(false)
	keep(true)
}

// tokensIn reports whether a keyring has a step-up token.
func tokensIn(k *cachetest.Keyring) bool {
	for _, value := range k.Items() {
		if strings.Contains(value.Reveal(), `"rule":"deploy"`) {
			return true
		}
	}
	return false
}

// secondAgent has the same configuration and keyring as r and ends with the test.
func secondAgent(t *testing.T, r *rig, k keyring.Keyring) string {
	t.Helper()
	c := r.config
	c.Listeners = c.Listeners[:1]
	ready := make(chan struct{})
	a := agent.New(c, agent.Options{
		RuntimeDir: filepath.Join(r.dir, "second"), Log: slog.New(slog.DiscardHandler), Keyring: k, Ready: func() { close(ready) },
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	wait(t, ready)
	return "http://" + a.Status(t.Context()).Listeners[0].Address
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// dialUnix leads every connection to a socket.
func dialUnix(path string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// The memory for bodies follows the configuration: without any, a request with a
// body is asked about before it is sent.
func TestReloadChangesTheBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = r.code
	for _, tt := range []struct {
		memory int64
		sent   int
	}{{0, 1}, {1 << 20, 2}} {
		c := r.config
		c.Relay.MaxKeptBodies = tt.memory
		if err := r.agent.Reload(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		r.vault.ForgetRequests()
		if got := r.do(t, "POST", "/v1/kv/data/prod/db", `{"data":{"x":"y"}}`, "X-Vault-Token", r.token); got.status != 200 || got.outcome != "approved" {
			t.Fatalf("answer %d %s %s", got.status, got.outcome, got.body)
		}
		if sent := r.sent("/v1/kv/data/prod/db"); sent != tt.sent {
			t.Errorf("sent %d times with %d bytes of memory, want %d", sent, tt.memory, tt.sent)
		}
	}
}
