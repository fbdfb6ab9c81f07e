package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/prompt"
)

func TestGuardedRead(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = r.code
	check(t, r.read(t, "kv/data/prod/db"), reply{200, "kv/data/prod/db", "approved"})
	check(t, r.read(t, "kv/data/dev/db"), reply{200, "", ""})
	q := r.asked.Requests()[0]
	if q.Rule != "prod" || q.Path != "kv/data/prod/db" || q.Operation != "read" || q.Vault != "corp" || q.Requester.UID != os.Getuid() {
		t.Errorf("asked %+v", q)
	}
	if runtime.GOOS == "linux" && (q.Requester.PID != os.Getpid() || len(q.Requester.Chain) == 0) {
		t.Errorf("requester %+v", q.Requester)
	}
}

func TestNotGrantedIsNotPrompted(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	for _, call := range [][2]string{{"DELETE", r.token}, {"GET", "hvs.dead"}} {
		checkPassed(t, r.do(t, call[0], "/v1/kv/data/prod/db", "", "X-Vault-Token", call[1]))
	}
	r.wantAsked(t, 0)
}

func TestWrongCodeThenRight(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Attempt == 1 {
			return "000000", nil
		}
		return r.code(ctx, q)
	}
	check(t, r.do(t, "PUT", "/v1/kv/data/prod/db", `{"data":{"a":"b"}}`, "X-Vault-Token", r.token), reply{200, "", "approved"})
	r.wantAsked(t, 2)
}

func TestDenied(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = deny
	want := `{"errors":["1 error occurred:\n\t* permission denied\n\n","stepup: the second factor was denied; if that was a mistake, try again after the cool-down"]}` + "\n"
	if got := r.read(t, "kv/data/prod/db"); got != (reply{403, want, "denied"}) {
		t.Errorf("%+v", got)
	}
	check(t, r.read(t, "kv/data/prod/db"), reply{403, "", "cooldown"})
}

func TestLoginThroughTheAgent(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = r.code
	got := r.do(t, "POST", "/v1/auth/stepup/login/alice", pw)
	check(t, got, reply{200, "", "approved"})
	r.token = member(t, got, "client_token")
	check(t, r.read(t, "kv/data/dev/db"), reply{200, "", ""})

	wrapped := r.do(t, "POST", "/v1/auth/stepup/login/alice", pw, "X-Vault-Wrap-Ttl", "60s")
	opened := r.do(t, "POST", "/v1/sys/wrapping/unwrap", "", "X-Vault-Token", member(t, wrapped, "token"))
	check(t, opened, reply{200, `"client_token":"hvs.`, ""})
}

func TestNoWayToAsk(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	check(t, r.read(t, "kv/data/prod/db"), reply{403, "stepup attach", "unavailable"})
	got := r.do(t, "POST", "/v1/auth/stepup/login/alice", pw)
	check(t, got, reply{200, "mfa_request_id", "unavailable"})
	check(t, got, reply{200, "stepup attach", "unavailable"})
}

func TestPushOnARulesPath(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	told := r.seen()
	done := later(func() reply { return r.read(t, "kv/data/call/db") })
	if q := wait(t, told); q.Kind != prompt.Push || q.Method != "phone" {
		t.Errorf("told %+v", q)
	}
	ringing(t, r.push)
	r.push.Approve()
	check(t, <-done, reply{200, "", "approved"})
	wantPushes(t, r.push, 1)
}

// Many callers at once: each is asked about by itself, none is taken for another, and
// every goroutine is gone at the end (newFixture waits for them). Not so many that a busy
// machine is slower than a person at a phone.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = deny
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			token := r.vault.CreateToken([]string{"default", "prod"}, "alice")
			got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", token)
			if got.status != 403 || got.outcome != "denied" && got.outcome != "cooldown" { // the rule is muted
				t.Errorf("caller %d: %+v", i, got)
			}
		})
	}
	all.Wait()
}

func TestReload(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	c := r.config
	c.Rules = nil
	c.Listeners = c.Listeners[:1]
	r.reload(t, c)
	check(t, r.read(t, "kv/data/prod/db"), reply{403, "", ""})
	if _, err := os.Stat(r.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("closed listener left its socket: %v", err)
	}
	strict := c
	strict.Listeners = []agent.Listener{c.Listeners[0]}
	strict.Listeners[0].RequireHeader = true
	r.reload(t, strict)
	check(t, r.read(t, "kv/data/dev/db"), reply{412, "", ""})
	check(t, r.read(t, "kv/data/dev/db", "X-Vault-Request", "true"), reply{200, "", ""})
	r.reload(t, c)
	bad := c
	bad.Listeners = append([]agent.Listener{{Network: "tcp", Address: "192.0.2.1:1", Vault: "corp"}}, c.Listeners...)
	if err := r.agent.Reload(t.Context(), bad); !errors.Is(err, listener.ErrUnsafe) {
		t.Errorf("non-loopback listener: %v", err)
	}
	if s := r.agent.Status(t.Context()); !strings.Contains(s.ConfigError, "loopback") {
		t.Errorf("status says %q", s.ConfigError)
	}
	check(t, r.read(t, "kv/data/dev/db"), reply{200, "", ""})
	r.reload(t, r.config)
	if _, err := net.Dial("unix", r.socket); err != nil {
		t.Errorf("listener did not come back: %v", err)
	}
}

// A prompt that is open survives a reload, and so does its connection.
func TestReloadUnderAPrompt(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		close(asked)
		<-answer
		return r.code(ctx, q)
	}
	done := later(func() reply { return r.read(t, "kv/data/prod/db") })
	wait(t, asked)
	r.reload(t, r.config)
	close(answer)
	check(t, <-done, reply{200, "", "approved"})
}

func TestOneAgentPerRuntimeFolder(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	second := agent.New(r.config, agent.Options{RuntimeDir: filepath.Join(r.dir, "run"), Log: slog.New(slog.DiscardHandler)})
	if err := second.Run(t.Context()); !errors.Is(err, listener.ErrRunning) {
		t.Errorf("second agent: %v", err)
	}
}

func TestControlSocket(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	seen, c := r.seen(), r.control()
	done := later(func() reply { return r.read(t, "kv/data/prod/db") })
	wait(t, seen)
	prompts, err := c.Prompts(t.Context())
	if err != nil || len(prompts) != 1 {
		t.Fatalf("prompts %v, %v", prompts, err)
	}
	must(t, c.Answer(t.Context(), prompts[0].ID, r.vault.UnusedCode("corp", "alice")))
	check(t, <-done, reply{200, "", "approved"})
	s, err := c.Status(t.Context())
	if err != nil || !s.Vaults[0].Up || s.Rules[0].Grant != "header" || s.Listeners[0].Check == "" {
		t.Errorf("status %+v, %v", s, err)
	}
	// Approvals are never taken on a listener that apps use.
	if got := r.do(t, "POST", "/v1/prompts/x/deny", ""); got.status == 200 || got.status == 204 {
		t.Errorf("control route on an app's listener: %+v", got)
	}
}

// Why a server does not answer is said without its name and address, which stand beside it.
func TestStatusWithoutServer(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	must(t, err)
	defer silent.Close()
	for address, want := range map[string]string{
		"127.0.0.1:1":          "dial tcp 127.0.0.1:1: connect", // and more, in the words of the system
		silent.Addr().String(): "no answer in time",
	} {
		c := r.config
		c.Vaults = slices.Clone(c.Vaults)
		c.Vaults[0].Address = &url.URL{Scheme: "http", Host: address}
		r.reload(t, c)
		if got := r.agent.Status(t.Context()).Vaults[0]; got.Up || !strings.HasPrefix(got.Error, want) {
			t.Errorf("%s: %+v, want %q", address, got, want)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	seen := r.seen()
	done := later(func() reply { return r.read(t, "kv/data/prod/db") })
	wait(t, seen)
	result, err := r.control().Lock(t.Context())
	if err != nil || result.Prompts != 1 {
		t.Errorf("lock: %+v, %v", result, err)
	}
	check(t, <-done, reply{403, "stepup lock", "denied"})
}

// What went through the agent is nowhere in its log or audit log: not the
// token, not the password, not the code.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	var codes []string
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		code, err := r.code(ctx, q)
		codes = append(codes, code)
		return code, err
	}
	r.read(t, "kv/data/prod/db")
	r.do(t, "POST", "/v1/auth/stepup/login/alice", `{"password":"the-password"}`)
	r.do(t, "GET", "/v1/kv/data/prod/db", "", "Origin", "https://evil.example", "X-Vault-Token", r.token)
	log, err := os.ReadFile(r.config.Audit.File)
	must(t, err)
	all := string(log) + r.log.String()
	for _, secret := range append(codes, r.token, "the-password") {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in the logs", secret)
		}
	}
	for _, event := range []string{"challenge", "prompt", "approved", "refused"} {
		if !strings.Contains(string(log), fmt.Sprintf(`"event":%q`, event)) {
			t.Errorf("no %s in the audit log:\n%s", event, log)
		}
	}
}

// An upstream that turns out to be the agent itself ends with a 508 instead of
// connections without end.
func TestLoop(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	self, err := url.Parse(r.url)
	must(t, err)
	c := r.config
	c.Vaults = []agent.Vault{{Name: "corp", Address: self}}
	r.reload(t, c)
	check(t, r.read(t, "kv/data/dev/db"), reply{http.StatusLoopDetected, "stepup: ", ""})
}

func TestVaultGoesAndComesBack(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	vault := serveAt(t, r.vault, "127.83.7.12:0") // where no other test takes the port in between
	c := r.config
	c.Vaults = []agent.Vault{{Name: "corp", Address: &url.URL{Scheme: "http", Host: vault.Addr}}}
	r.reload(t, c)
	check(t, r.do(t, "GET", "/v1/sys/health", ""), reply{200, "", ""})
	_ = vault.Close()
	check(t, r.read(t, "kv/data/dev/db"), reply{502, `"stepup: vault \"corp\" cannot be reached`, ""})
	serveAt(t, r.vault, vault.Addr)
	check(t, r.do(t, "GET", "/v1/sys/health", ""), reply{200, "", ""})
}

// A client that asks while the agent starts learns the addresses that it then has, not those of the file.
func TestStatusWhileStarting(t *testing.T) {
	t.Parallel()
	r := newStoppedFixture(t, devvault.Config{Flavor: devvault.Community})
	r.config.Cache.Store = agent.StoreKeyring
	type answer struct {
		status control.Status
		err    error
	}
	answers := make(chan answer, 1)
	early := sync.OnceFunc(func() { // the control socket is there, and nothing else
		go func() {
			s, err := r.control().Status(t.Context())
			answers <- answer{s, err}
		}()
		for range 1000 {
			runtime.Gosched()
		}
	})
	r.keyring = &cachetest.Keyring{Before: func(context.Context, string, string) error { early(); return nil }}
	r.start(t)
	early() // not only then
	got := <-answers
	if got.err != nil || len(got.status.Listeners) != 2 || strings.HasSuffix(got.status.Listeners[0].Address, ":0") {
		t.Errorf("%v, %+v", got.err, got.status.Listeners)
	}
}
