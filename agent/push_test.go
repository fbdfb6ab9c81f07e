package agent_test

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
)

// A hundred requests that are the same: never two pushes at a time, however late a
// request comes.
func TestSameRequestsNeverPushTwiceAtATime(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.person = sees(nil)
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
	r := newFixture(t)
	r.person = sees(nil)
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
	wantPushes(t, r.push, 2)
}

// An app that leaves takes its push with it, and that is no denial.
func TestAppLeavesWhileItsPushRings(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	told := r.seen()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/kv/data/call/db", nil)
	must(t, err)
	req.Header.Set("X-Vault-Token", r.token)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Error("it got an answer")
		}
	}()
	wait(t, told)
	leave()
	<-gone
	eventually(t, "the push is off the phone", func() bool { return r.push.Pending() == 0 })
	r.push.Always(true)
	check(t, r.read(t, "kv/data/call/db"), reply{200, "", ""})
}

func TestLockWhileAPushRings(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	told := r.seen()
	done := later(func() reply { return r.read(t, "kv/data/call/db") })
	wait(t, told)
	if _, err := r.control().Lock(t.Context()); err != nil {
		t.Error(err)
	}
	check(t, <-done, reply{403, "stepup lock", "denied"})
	eventually(t, "the push is off the phone", func() bool { return r.push.Pending() == 0 })
	check(t, r.read(t, "kv/data/call/db"), reply{403, "", "cooldown"})
	wantPushes(t, r.push, 1)
}

// newDuoFixture has a method duo that takes a passcode or pushes, and alice's token for
// what it guards.
func newDuoFixture(t *testing.T) (r *fixture, duo *devvault.Push) {
	t.Helper()
	r = newFixture(t)
	duo = r.vault.AddPushMethod("duo", "duo")
	r.vault.AddPolicy("duo", devvault.PathRule{Path: "kv/data/duo/*", Capabilities: []string{"read"}, MFAMethods: []string{"duo"}})
	must(t, r.vault.PutSecret("kv/duo/db", map[string]any{"k": "v"}))
	r.config.Methods = []agent.Method{{Name: "duo", Type: "duo", Passcode: true}}
	r.config.Rules = rule.Rules{headerRule("duo", "kv/data/duo/*", "duo")}
	r.reload(t, r.config)
	r.token = r.vault.CreateToken([]string{"default", "duo"}, "alice")
	return r, duo
}

// Wrong codes, used codes and a dead token ring no phone, and a used code is not
// even sent.
func TestDuoPasscode(t *testing.T) {
	t.Parallel()
	r, duo := newDuoFixture(t)
	duo.AcceptPasscodes("1234567", "7654321")
	r.person = types("0000000", "1234567", "1234567", "7654321")
	r.wantOutcomes(t, "kv/data/duo/db", "approved") // wrong, then right
	r.wantAsked(t, 2)
	r.vault.ForgetRequests()
	r.wantOutcomes(t, "kv/data/duo/db", "approved") // used, then right
	r.wantAsked(t, 4)
	for _, q := range r.vault.Requests() {
		if line := q.Header.Get("X-Vault-Mfa"); line != "" && line != "duo:passcode=7654321" {
			t.Errorf("sent %q", line)
		}
	}
	check(t, r.as("hvs.dead").read(t, "kv/data/duo/db"), reply{403, "", ""})
	r.wantAsked(t, 4)
	wantPushes(t, duo, 0)
}

// A login that a Sentinel policy guards: there is no token yet.
func TestSentinelOnALogin(t *testing.T) {
	t.Parallel()
	r := newFixture(t)
	r.vault.AddSentinel(devvault.Sentinel{Name: "office", Paths: []string{"auth/userpass/login/+"}, Methods: []string{"corp"}})
	r.config.Rules = rule.Rules{{
		Name: "office", Paths: patterns("auth/userpass/login/*"), Grant: rule.Grant{Kind: rule.HeaderGrant},
		Sentinel: []rule.Policy{{Name: "root/office", Methods: []string{"corp"}}},
	}}
	r.reload(t, r.config)
	login := func(password string) reply {
		return r.do(t, "PUT", "/v1/auth/userpass/login/alice", `{"password":"`+password+`"}`)
	}
	r.person = r.code
	check(t, login("pw"), reply{200, `"client_token":"hvs.`, "approved"})
	check(t, login("wrong"), reply{400, "invalid username or password", "approved"})
	r.person = deny
	got := login("pw")
	if got.status != 400 || got.outcome != "denied" || strings.Count(got.body, "A trace of the execution") != 1 || !strings.Contains(got.body, `"stepup: the second factor was denied`) {
		t.Errorf("denied: %+v", got)
	}
	check(t, login("pw"), reply{400, "", "cooldown"})
}
