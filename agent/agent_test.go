package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/prompt"
)

func TestGuardedRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = r.code
	got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token)
	if got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, "kv/data/prod/db") {
		t.Errorf("%+v", got)
	}
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", r.token); got.status != 200 || got.outcome != "" {
		t.Errorf("ordinary read: %+v", got)
	}
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
	r := newRig(t)
	for name, call := range map[string][2]string{
		"delete is not granted": {"DELETE", r.token},
		"dead token":            {"GET", "hvs.dead"},
	} {
		got := r.do(t, call[0], "/v1/kv/data/prod/db", "", "X-Vault-Token", call[1])
		if got.status != 403 || got.outcome != "" || strings.Contains(got.body, "stepup") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if n := len(r.asked.Requests()); n != 0 {
		t.Errorf("%d prompts", n)
	}
}

func TestWrongCodeThenRight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		if q.Attempt == 1 {
			return "000000", nil
		}
		return r.code(ctx, q)
	}
	got := r.do(t, "PUT", "/v1/kv/data/prod/db", `{"data":{"a":"b"}}`, "X-Vault-Token", r.token)
	if got.status != 200 || got.outcome != "approved" || len(r.asked.Requests()) != 2 {
		t.Errorf("%+v after %d prompts", got, len(r.asked.Requests()))
	}
}

func TestDenied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token)
	want := `{"errors":["1 error occurred:\n\t* permission denied\n\n","stepup: the second factor was denied; if that was a mistake, try again after the cool-down"]}` + "\n"
	if got != (reply{403, want, "denied"}) {
		t.Errorf("%+v", got)
	}
	if got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token); got.status != 403 || got.outcome != "cooldown" {
		t.Errorf("again: %+v", got)
	}
}

func TestLoginThroughTheAgent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = r.code
	got := r.do(t, "POST", "/v1/auth/stepup/login/alice", `{"password":"pw"}`)
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.status != 200 || got.outcome != "approved" || answer.Auth.Token == "" {
		t.Fatalf("%+v %v", got, err)
	}
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", answer.Auth.Token); got.status != 200 {
		t.Errorf("token of the login: %+v", got)
	}
}

func TestWrappedLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = r.code
	got := r.do(t, "POST", "/v1/auth/stepup/login/alice", `{"password":"pw"}`, "X-Vault-Wrap-Ttl", "60s")
	var answer struct {
		WrapInfo struct{ Token string } `json:"wrap_info"`
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || answer.WrapInfo.Token == "" {
		t.Fatalf("%+v %v", got, err)
	}
	opened := r.do(t, "POST", "/v1/sys/wrapping/unwrap", "", "X-Vault-Token", answer.WrapInfo.Token)
	if opened.status != 200 || !strings.Contains(opened.body, `"client_token":"hvs.`) {
		t.Errorf("unwrapped: %+v", opened)
	}
}

func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token)
	if got.status != 403 || got.outcome != "unavailable" || !strings.Contains(got.body, "stepup attach") {
		t.Errorf("read: %+v", got)
	}
	got = r.do(t, "POST", "/v1/auth/stepup/login/alice", `{"password":"pw"}`)
	if got.status != 200 || got.outcome != "unavailable" || !strings.Contains(got.body, "mfa_request_id") || !strings.Contains(got.body, "stepup attach") {
		t.Errorf("login: %+v", got)
	}
}

func TestPushOnARulesPath(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := make(chan prompt.Request, 1)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		told <- q
		<-ctx.Done()
		return "", ctx.Err()
	}
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "GET", "/v1/kv/data/call/db", "", "X-Vault-Token", r.token) }()
	if q := <-told; q.Kind != prompt.Push || q.Method != "phone" {
		t.Errorf("told %+v", q)
	}
	ringing(t, r.push)
	r.push.Approve()
	if got := <-done; got.status != 200 || got.outcome != "approved" || r.push.Sent() != 1 {
		t.Errorf("%+v after %d pushes", got, r.push.Sent())
	}
}

// Many callers at once: each is asked by itself, nobody is mixed up, and every
// goroutine is gone at the end (newRig waits for them). Not so many that a busy
// machine is slower than a person at a phone.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = func(_ context.Context, q prompt.Request) (string, error) { return "", prompt.ErrDenied }
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			token := r.vault.CreateToken([]string{"default", "prod"}, "alice")
			got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", token)
			if got.status != 403 || got.outcome != "denied" && got.outcome != "cooldown" { // the rule falls silent
				t.Errorf("caller %d: %+v", i, got)
			}
		})
	}
	all.Wait()
}

func TestReload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.config
	c.Rules = nil
	c.Listeners = c.Listeners[:1]
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token); got.status != 403 || got.outcome != "" {
		t.Errorf("rule is still there: %+v", got)
	}
	if _, err := os.Stat(r.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("closed listener left its socket: %v", err)
	}
	strict := c
	strict.Listeners = []agent.Listener{c.Listeners[0]}
	strict.Listeners[0].RequireHeader = true
	if err := r.agent.Reload(t.Context(), strict); err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", r.token); got.status != 412 {
		t.Errorf("without the header: %+v", got)
	}
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", r.token, "X-Vault-Request", "true"); got.status != 200 {
		t.Errorf("with the header: %+v", got)
	}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	bad := c
	bad.Listeners = append([]agent.Listener{{Network: "tcp", Address: "192.0.2.1:1", Vault: "corp"}}, c.Listeners...)
	if err := r.agent.Reload(t.Context(), bad); !errors.Is(err, listener.ErrUnsafe) {
		t.Errorf("non-loopback listener: %v", err)
	}
	if s := r.agent.Status(t.Context()); !strings.Contains(s.ConfigError, "loopback") {
		t.Errorf("status says %q", s.ConfigError)
	}
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", r.token); got.status != 200 {
		t.Errorf("after a failed reload: %+v", got)
	}
	if err := r.agent.Reload(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", r.socket); err != nil {
		t.Errorf("listener did not come back: %v", err)
	}
}

// A prompt that is open survives a reload, and so does its connection.
func TestReloadUnderAPrompt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		close(asked)
		<-answer
		return r.code(ctx, q)
	}
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token) }()
	wait(t, asked)
	if err := r.agent.Reload(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
	close(answer)
	if got := <-done; got.status != 200 || got.outcome != "approved" {
		t.Errorf("%+v", got)
	}
}

func TestOneAgentPerRuntimeFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	second := agent.New(r.config, agent.Options{RuntimeDir: filepath.Join(r.dir, "run"), Log: slog.New(slog.DiscardHandler)})
	if err := second.Run(t.Context()); !errors.Is(err, listener.ErrRunning) {
		t.Errorf("second agent: %v", err)
	}
}

func TestControlSocket(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	open := make(chan struct{})
	r.person = func(ctx context.Context, _ prompt.Request) (string, error) {
		close(open)
		<-ctx.Done()
		return "", ctx.Err()
	}
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token) }()
	wait(t, open)
	client := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
	prompts, err := client.Prompts(t.Context())
	if err != nil || len(prompts) != 1 {
		t.Fatalf("prompts %v, %v", prompts, err)
	}
	if err := client.Answer(t.Context(), prompts[0].ID, r.vault.UnusedCode("corp", "alice")); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.status != 200 || got.outcome != "approved" {
		t.Errorf("%+v", got)
	}
	s, err := client.Status(t.Context())
	if err != nil || !s.Vaults[0].Up || s.Rules[0].Grant != "header" || s.Listeners[0].Check == "" {
		t.Errorf("status %+v, %v", s, err)
	}
	// Approvals are never taken on a listener that apps use.
	if got := r.do(t, "POST", "/v1/prompts/x/deny", ""); got.status == 200 || got.status == 204 {
		t.Errorf("control route on an app's listener: %+v", got)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	open := make(chan struct{})
	r.person = func(ctx context.Context, _ prompt.Request) (string, error) {
		close(open)
		<-ctx.Done()
		return "", ctx.Err()
	}
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token) }()
	wait(t, open)
	result, err := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket)).Lock(t.Context())
	if err != nil || result.Prompts != 1 {
		t.Errorf("lock: %+v, %v", result, err)
	}
	if got := <-done; got.outcome != "denied" || !strings.Contains(got.body, "stepup lock") {
		t.Errorf("%+v", got)
	}
}

// What went through the agent is nowhere in its log or audit log: not the
// token, not the password, not the code.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var codes []string
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		code, err := r.code(ctx, q)
		codes = append(codes, code)
		return code, err
	}
	r.do(t, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", r.token)
	r.do(t, "POST", "/v1/auth/stepup/login/alice", `{"password":"the-password"}`)
	r.do(t, "GET", "/v1/kv/data/prod/db", "", "Origin", "https://evil.example", "X-Vault-Token", r.token)
	log, err := os.ReadFile(r.config.Audit.File)
	if err != nil {
		t.Fatal(err)
	}
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
	r := newRig(t)
	self, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	c := r.config
	c.Vaults = []agent.Vault{{Name: "corp", Address: self}}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", r.token); got.status != http.StatusLoopDetected || !strings.Contains(got.body, "stepup: ") {
		t.Errorf("%+v", got)
	}
}

func TestVaultGoesAndComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	vault := serveAt(t, r.vault, "127.83.7.12:0") // where no other test takes the port in between
	c := r.config
	c.Vaults = []agent.Vault{{Name: "corp", Address: &url.URL{Scheme: "http", Host: vault.Addr}}}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := r.do(t, "GET", "/v1/sys/health", ""); got.status != 200 {
		t.Errorf("there: %+v", got)
	}
	_ = vault.Close()
	if got := r.do(t, "GET", "/v1/kv/data/dev/db", "", "X-Vault-Token", r.token); got.status != 502 || !strings.Contains(got.body, `"stepup: vault \"corp\" cannot be reached`) {
		t.Errorf("gone: %+v", got)
	}
	serveAt(t, r.vault, vault.Addr)
	if got := r.do(t, "GET", "/v1/sys/health", ""); got.status != 200 {
		t.Errorf("back: %+v", got)
	}
}
