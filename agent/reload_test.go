package agent_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A scene is an agent in the middle of its work: one answer streams, one prompt
// is open, and one token is cached.
type scene struct {
	*fixture
	lines  chan string // of the stream, to be sent by Vault
	stream *bufio.Scanner
	answer chan struct{} // closed when the person answers
	reply  <-chan reply  // of the request that waits for them
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{fixture: newTokenFixture(t), lines: make(chan string), answer: make(chan struct{})}
	streaming := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for line := range s.lines {
			_, _ = io.WriteString(w, line+"\n")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(streaming.Close)
	address, err := url.Parse(streaming.URL)
	must(t, err)
	s.config.Vaults = append(slices.Clone(s.config.Vaults), agent.Vault{Name: "events", Address: address})
	s.config.Listeners = append(slices.Clone(s.config.Listeners), agent.Listener{Network: "unix", Address: filepath.Join(s.dir, "events.sock"), Vault: "events"})
	s.reload(t, s.config)
	s.cache(t, "approved")
	s.subscribe(t)
	s.ask(t)
	return s
}

// cache reads under the rule whose token is cached after the first time.
func (s *scene) cache(t *testing.T, outcome string) {
	t.Helper()
	s.wantOutcomes(t, "kv/data/deploy/web", outcome)
}

func (s *scene) subscribe(t *testing.T) {
	t.Helper()
	transport := &http.Transport{DialContext: dialTo("unix", filepath.Join(s.dir, "events.sock"))}
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/v1/sys/events", nil)
	must(t, err)
	go func() { s.lines <- "first" }()
	resp, err := transport.RoundTrip(req)
	must(t, err)
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
	s.reply = later(func() reply { return s.read(t, "kv/data/secure/db") })
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
			s.change(t, func(c *agent.Config) {
				change(c, s.dir)
				c.Changes = name + " changed"
			})
			s.lines <- "second"
			s.next(t, "second")
			s.cache(t, "cached")
			close(s.answer)
			check(t, <-s.reply, reply{200, "", "approved"})
			close(s.lines)
			if s.stream.Scan() || s.stream.Err() != nil {
				t.Errorf("the end of the stream: %q, %v", s.stream.Text(), s.stream.Err())
			}
			status := s.agent.Status(t.Context())
			if r := status.Reload; r == nil || r.Changes != name+" changed" || r.Error != "" || r.Time.IsZero() || status.ConfigError != "" {
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
	s.reload(t, s.config)
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
// made under another policy.
func TestReloadDropsTokens(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(g *rule.Grant){
		"policies": func(g *rule.Grant) { g.Policies = nil },
		"uses":     func(g *rule.Grant) { g.NumUses = 5 },
		"parent":   func(g *rule.Grant) { g.NoParent = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTokenFixture(t)
			r.wantOutcomes(t, "kv/data/deploy/web", "approved", "cached")
			r.change(t, func(c *agent.Config) { change(&c.Rules[0].Grant) })
			asked := len(r.asked.Requests())
			r.read(t, "kv/data/deploy/web")
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
	server := serveAt(t, elsewhere, "127.0.0.1:0")
	r := newTokenFixture(t)
	r.read(t, "kv/data/deploy/web")
	r.change(t, func(c *agent.Config) { c.Vaults[0].Address = &url.URL{Scheme: "http", Host: server.Addr} })
	r.read(t, "kv/data/deploy/web")
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
	r := withTokens(t, newFixtureAt(t, devvault.Enterprise, kept))
	const web = "kv/data/deploy/web"
	keep := func(keyring bool) {
		t.Helper()
		r.change(t, func(c *agent.Config) {
			if c.Cache.Store = agent.StoreMemory; keyring {
				c.Cache.Store = agent.StoreKeyring
			}
		})
		r.wantOutcomes(t, web, "cached")
		eventually(t, fmt.Sprintf("kept in the keyring: %v", keyring), func() bool { return tokensIn(kept) == keyring })
	}
	r.wantOutcomes(t, web, "approved")
	if tokensIn(kept) {
		t.Error("kept in the keyring although it is to be in memory")
	}
	keep(true)
	eventually(t, "the callers' key is kept", func() bool { return len(kept.Items()) >= 3 })
	r.at("http://"+secondAgent(t, r, kept).Status(t.Context()).Listeners[0].Address).wantOutcomes(t, web, "cached") // as after a restart
	keep(false)
	keep(true)
}

// A keyring that could not be used when the agent began is used once it can be, and the
// next process finds what is kept there then.
func TestKeyringThatComesLate(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	kept := &cachetest.Keyring{Before: func(context.Context, string, string) error {
		if calls.Add(1) == 1 { // the key that callers are told apart by
			return &keyring.Error{Condition: keyring.Locked, Why: "not yet"}
		}
		return nil
	}}
	r := newStoppedFixture(t, devvault.Config{Flavor: devvault.Enterprise, Record: true})
	r.furnish(t)
	r.keyring, r.config.Cache.Store = kept, agent.StoreKeyring
	r.start(t)
	withTokens(t, r)
	const web = "kv/data/deploy/web"
	r.wantOutcomes(t, web, "approved")
	eventually(t, "the token is kept", func() bool { return tokensIn(kept) })
	if log := r.log.String(); !strings.Contains(log, "memory only") || !strings.Contains(log, "keyring can be used: step-up tokens are kept there") {
		t.Errorf("the log says %s", log)
	}
	r.at("http://"+secondAgent(t, r, kept).Status(t.Context()).Listeners[0].Address).wantOutcomes(t, web, "cached")
}

// Where no desktop is, the next process finds what the kernel keeps.
func TestKernelKeepsTokens(t *testing.T) {
	t.Parallel()
	if err := keyring.Check(t.Context(), keyring.Kernel{}); err != nil {
		t.Logf("nothing to see in a container: %v", err)
		return
	}
	r := newStoppedFixture(t, devvault.Config{Flavor: devvault.Enterprise, Record: true})
	r.furnish(t)
	r.config.Cache.Store = agent.StoreKernel
	r.start(t)
	withTokens(t, r)
	const web = "kv/data/deploy/web"
	r.wantOutcomes(t, web, "approved")
	second := secondAgent(t, r, nil)
	if s := second.Status(t.Context()).Cache; s.Store != "kernel" || s.State != string(keyring.Available) {
		t.Errorf("%+v", s)
	}
	r.at("http://"+second.Status(t.Context()).Listeners[0].Address).wantOutcomes(t, web, "cached")
	_, err := r.control().Lock(t.Context()) // leaves nothing in this user's keyring
	must(t, err)
}

// tokensIn reports whether a keyring has a step-up token.
func tokensIn(kept *cachetest.Keyring) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(kept.Items())), func(value secret.Secret) bool {
		return strings.Contains(value.Reveal(), `"rule":"deploy"`)
	})
}

// secondAgent has the same configuration and keyring as r and ends with the test.
func secondAgent(t *testing.T, r *fixture, k keyring.Keyring) *agent.Agent {
	t.Helper()
	c := r.config
	c.Listeners = c.Listeners[:1]
	a, _ := start(t, c, agent.Options{RuntimeDir: filepath.Join(r.dir, "second"), Keyring: k})
	return a
}

// dialTo leads every connection to one address.
func dialTo(network, address string) func(ctx context.Context, _, _ string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

// The memory for bodies follows the configuration: without any, a request with a
// body is asked about before it is sent.
func TestReloadChangesTheBudget(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = r.code
	for _, tt := range []struct {
		memory int64
		sent   int
	}{{0, 1}, {1 << 20, 2}} {
		r.change(t, func(c *agent.Config) { c.Relay.MaxKeptBodies = tt.memory })
		r.vault.ForgetRequests()
		check(t, r.do(t, "POST", "/v1/kv/data/prod/db", `{"data":{"x":"y"}}`, "X-Vault-Token", r.token), reply{200, "", "approved"})
		if sent := r.sent("/v1/kv/data/prod/db"); sent != tt.sent {
			t.Errorf("sent %d times with %d bytes of memory, want %d", sent, tt.memory, tt.sent)
		}
	}
}
