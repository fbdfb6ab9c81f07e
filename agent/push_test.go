package agent_test

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// onlyTold is a person who sees pushes and is asked nothing.
func onlyTold(told chan<- prompt.Request) func(context.Context, prompt.Request) (string, error) {
	return func(ctx context.Context, q prompt.Request) (string, error) {
		select {
		case told <- q:
		default:
		}
		<-ctx.Done()
		return "", ctx.Err()
	}
}

// A hundred requests that are the same: never two pushes at a time, however late a
// request comes.
func TestSameRequestsNeverPushTwiceAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = onlyTold(nil)
	const n = 100
	var all, written sync.WaitGroup
	done := make(chan struct{})
	written.Add(n)
	for i := range n {
		all.Go(func() {
			var once sync.Once
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				WroteRequest: func(httptrace.WroteRequestInfo) { once.Do(written.Done) },
			})
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/kv/data/call/db", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-Vault-Token", r.token)
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("request %d: %d", i, resp.StatusCode)
			}
		})
	}
	go func() {
		defer close(done)
		all.Wait()
	}()
	written.Wait()
	for {
		if pending := r.push.Pending(); pending > 1 {
			t.Fatalf("%d pushes ring at a time", pending)
		}
		r.push.Approve()
		select {
		case <-done:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// What differs is another decision.
func TestDifferentRequestsPushEach(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.person = onlyTold(nil)
	var all sync.WaitGroup
	for _, query := range []string{"", "?version=1"} {
		all.Go(func() {
			if got := r.do(t, "GET", "/v1/kv/data/call/db"+query, "", "X-Vault-Token", r.token); got.status != 200 {
				t.Errorf("%q: %+v", query, got)
			}
		})
	}
	eventually(t, "two pushes ring", func() bool { return r.push.Pending() == 2 })
	r.push.Always(true)
	all.Wait()
	if n := r.push.Sent(); n != 2 {
		t.Errorf("%d pushes", n)
	}
}

// An app that leaves takes its push with it, and nobody has said no.
func TestAppLeavesWhileItsPushRings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := make(chan prompt.Request, 1)
	r.person = onlyTold(told)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/kv/data/call/db", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", r.token)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Error("it got an answer")
		}
	}()
	<-told
	leave()
	<-gone
	eventually(t, "the push is off the phone", func() bool { return r.push.Pending() == 0 })
	r.push.Always(true)
	if got := r.do(t, "GET", "/v1/kv/data/call/db", "", "X-Vault-Token", r.token); got.status != 200 {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestLockWhileAPushRings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := make(chan prompt.Request, 1)
	r.person = onlyTold(told)
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "GET", "/v1/kv/data/call/db", "", "X-Vault-Token", r.token) }()
	<-told
	if _, err := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket)).Lock(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-done; got.status != 403 || got.outcome != "denied" || !strings.Contains(got.body, "stepup lock") {
		t.Errorf("%+v", got)
	}
	eventually(t, "the push is off the phone", func() bool { return r.push.Pending() == 0 })
	if got := r.do(t, "GET", "/v1/kv/data/call/db", "", "X-Vault-Token", r.token); got.outcome != "cooldown" || r.push.Sent() != 1 {
		t.Errorf("again: %+v after %d pushes", got, r.push.Sent())
	}
}

// newDuoRig has a method duo that takes a passcode or pushes, and alice's token for
// what it guards.
func newDuoRig(t *testing.T) (r *rig, duo *devvault.Push, token string) {
	t.Helper()
	r = newRig(t)
	duo = r.vault.AddPushMethod("duo", "duo")
	r.vault.AddPolicy("duo", devvault.PathRule{Path: "kv/data/duo/*", Capabilities: []string{"read"}, MFAMethods: []string{"duo"}})
	if err := r.vault.PutSecret("kv/duo/db", map[string]any{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	p, err := rule.ParsePattern("kv/data/duo/*")
	if err != nil {
		t.Fatal(err)
	}
	c := r.config
	c.Methods = []agent.Method{{Name: "duo", Type: "duo", Passcode: true}}
	c.Rules = rule.Rules{{Name: "duo", Paths: []rule.Pattern{p}, Methods: []string{"duo"}, Grant: rule.Grant{Kind: rule.HeaderGrant}}}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return r, duo, r.vault.CreateToken([]string{"default", "duo"}, "alice")
}

// Wrong codes, used codes and a dead token ring no phone, and a used code is not
// even sent.
func TestDuoPasscode(t *testing.T) {
	t.Parallel()
	r, duo, token := newDuoRig(t)
	duo.AcceptPasscodes("1234567", "7654321")
	codes := []string{"0000000", "1234567", "1234567", "7654321"}
	r.person = func(context.Context, prompt.Request) (string, error) {
		code := codes[0]
		codes = codes[1:]
		return code, nil
	}
	read := func(token string) reply {
		return r.do(t, "GET", "/v1/kv/data/duo/db", "", "X-Vault-Token", token)
	}
	if got := read(token); got.status != 200 || got.outcome != "approved" || len(codes) != 2 {
		t.Errorf("wrong, then right: %+v", got)
	}
	r.vault.ForgetRequests()
	if got := read(token); got.status != 200 || got.outcome != "approved" || len(codes) != 0 {
		t.Errorf("used, then right: %+v", got)
	}
	for _, q := range r.vault.Requests() {
		if line := q.Header.Get("X-Vault-Mfa"); line != "" && line != "duo:passcode=7654321" {
			t.Errorf("sent %q", line)
		}
	}
	if got := read("hvs.dead"); got.status != 403 || got.outcome != "" || len(codes) != 0 {
		t.Errorf("dead token: %+v", got)
	}
	if n := duo.Sent(); n != 0 {
		t.Errorf("%d pushes", n)
	}
}

// A login that a Sentinel policy guards: nobody has a token yet.
func TestSentinelOnALogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.vault.AddSentinel(devvault.Sentinel{Name: "office", Paths: []string{"auth/userpass/login/+"}, Methods: []string{"corp"}})
	p, err := rule.ParsePattern("auth/userpass/login/*")
	if err != nil {
		t.Fatal(err)
	}
	c := r.config
	c.Rules = rule.Rules{{
		Name: "office", Paths: []rule.Pattern{p}, Grant: rule.Grant{Kind: rule.HeaderGrant},
		Sentinel: []rule.Policy{{Name: "root/office", Methods: []string{"corp"}}},
	}}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	login := func(password string) reply {
		return r.do(t, "PUT", "/v1/auth/userpass/login/alice", `{"password":"`+password+`"}`)
	}
	r.person = r.code
	if got := login("pw"); got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, `"client_token":"hvs.`) {
		t.Errorf("right: %+v", got)
	}
	if got := login("wrong"); got.status != 400 || !strings.Contains(got.body, "invalid username or password") {
		t.Errorf("wrong password: %+v", got)
	}
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	got := login("pw")
	if got.status != 400 || got.outcome != "denied" || strings.Count(got.body, "A trace of the execution") != 1 || !strings.Contains(got.body, `"stepup: the second factor was denied`) {
		t.Errorf("denied: %+v", got)
	}
	if got := login("pw"); got.outcome != "cooldown" {
		t.Errorf("again: %+v", got)
	}
}
