package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	oktaDenied = `{"errors":["multi-factor authentication denied"]}`
	issued     = `{"auth":{"client_token":"hvs.okta","accessor":"acc"}}`
)

var oktaRequest = rule.Request{Namespace: "ns1", Path: "auth/okta/login/alice", Operation: rule.Update}

// mountLogin is a login of that kind with a password in its body.
func mountLogin(t *testing.T, kind mfa.MountKind) mfa.MountLogin {
	t.Helper()
	body, err := mfa.ReadLoginBody("", []byte(`{"password":"p"}`))
	if err != nil {
		t.Fatal(err)
	}
	return mfa.MountLogin{Kind: kind, Mount: "auth/okta", Body: body, Node: func() string { return "http://node" }}
}

// logins is a Vault for logins at mounts: each takes delay, and is answered from
// answers, the last of which stays.
type logins struct {
	mu      sync.Mutex
	delay   time.Duration
	answers []*http.Response
	err     error
	sent    []mfa.LoginBody
	at      []time.Time
}

func (l *logins) send(ctx context.Context, body mfa.LoginBody) (*http.Response, error) {
	l.mu.Lock()
	l.sent, l.at = append(l.sent, body), append(l.at, time.Now())
	next := l.answers[0]
	if len(l.answers) > 1 {
		l.answers = l.answers[1:]
	}
	l.mu.Unlock()
	select {
	case <-time.After(l.delay):
		return next, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *logins) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

// numbers gives a number from a time on, and notes when it was asked.
type numbers struct {
	mu    sync.Mutex
	start time.Time
	from  time.Duration
	asked []time.Duration
	last  vault.NumberRequest
	err   error
}

func (n *numbers) OktaNumber(_ context.Context, r vault.NumberRequest) (string, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	since := time.Since(n.start)
	n.asked, n.last = append(n.asked, since), r
	if since < n.from {
		return "", false, n.err
	}
	return "42", true, nil
}

// newMountFixture is a stage with Okta's numbers.
func newMountFixture(t *testing.T, change func(*stepup.Config)) (*fixture, *numbers) {
	n := &numbers{start: time.Now()}
	return newFixture(t, func(c *stepup.Config) {
		c.Vault.(*fakeVault).numbering, c.Okta = n, []string{"auth/okta"}
		if change != nil {
			change(c)
		}
	}), n
}

// pushes are the numbers and messages of what the person was told.
func (p *person) pushes() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		if r.Kind == prompt.Push {
			all = append(all, strings.TrimSpace(r.Number+" "+r.Message))
		}
	}
	return all
}

func TestOktaNumber(t *testing.T) {
	t.Parallel()
	ms := func(all ...int) (d []time.Duration) {
		for _, n := range all {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	type test struct {
		known, answered time.Duration
		looks           []time.Duration
		told            []string
		outcome         mfa.Outcome
	}
	tests := map[string]test{
		"known at once":     {0, 10 * time.Second, ms(500), []string{"42 tap 42 in Okta Verify"}, mfa.Approved},
		"known later":       {3 * time.Second, 10 * time.Second, ms(500, 1500, 2500, 3500), []string{"", "42 tap 42 in Okta Verify"}, mfa.Approved},
		"never a number":    {time.Hour, 3 * time.Second, ms(500, 1500, 2500), []string{""}, mfa.Approved},
		"no push was asked": {time.Hour, 400 * time.Millisecond, nil, nil, ""},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, n := newMountFixture(t, nil)
		n.from, n.err = tt.known, errors.New("busy")
		v := &logins{delay: tt.answered, answers: []*http.Response{answer(200, issued)}}
		resp, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
		if err != nil || resp.StatusCode != 200 || verdict.Outcome != tt.outcome {
			t.Errorf("%v %+v %v", resp, verdict, err)
		}
		if d := cmp.Diff(tt.looks, n.asked); d != "" {
			t.Errorf("looked: %s", d)
		}
		if d := cmp.Diff(tt.told, s.person.pushes()); d != "" {
			t.Errorf("told: %s", d)
		}
		nonce := v.sent[0].Text("nonce")
		want := vault.NumberRequest{Mount: "auth/okta", Nonce: nonce, Namespace: "ns1", Node: "http://node"}
		if len(nonce) != 20 || tt.looks != nil && n.last != want {
			t.Errorf("nonce %q, asked %+v", nonce, n.last)
		}
		if s.broker.Len() != 0 {
			t.Error("a notice stays open")
		}
	})
}

func TestNoncesDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		v := &logins{answers: []*http.Response{answer(200, issued)}}
		seen := make(map[string]bool)
		for range 20 {
			_, _, _ = s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
			seen[v.sent[len(v.sent)-1].Text("nonce")] = true
		}
		if len(seen) != 20 {
			t.Errorf("%d nonces of 20", len(seen))
		}
	})
}

// A no here drops the login at Vault; what comes next is not sent, because sending is
// what pushes.
func TestOktaDeniedHere(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"before the number": time.Second, "with the number": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, n := newMountFixture(t, nil)
				n.from = 2 * time.Second
				start := time.Now()
				s.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
					select {
					case <-time.After(after - time.Since(start)):
						return "", prompt.ErrDenied
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				v := &logins{delay: time.Hour, answers: []*http.Response{answer(200, issued)}}
				resp, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
				if resp != nil || err != nil || verdict.Outcome != mfa.Denied {
					t.Errorf("%v %+v %v", resp, verdict, err)
				}
				_, verdict, err = s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
				if err != nil || verdict.Outcome != mfa.Cooldown || v.count() != 1 {
					t.Errorf("%+v %v after %d sendings", verdict, err, v.count())
				}
				if got := s.audit.events; got[0] != audit.Challenge || got[len(got)-1] != audit.Denied || slices.Contains(got[1:], audit.Challenge) {
					t.Errorf("audit %v", got)
				}
			})
		})
	}
}

func TestOktaEnds(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection reset")
	type test struct {
		delay   time.Duration
		resp    *http.Response
		err     error
		outcome mfa.Outcome
		text    string
		wantErr error
	}
	tests := map[string]test{
		"refused on the phone":     {5 * time.Second, answer(400, oktaDenied), nil, mfa.Denied, "refused on the phone", nil},
		"refused at once":          {0, answer(400, oktaDenied), nil, mfa.Denied, "refused on the phone", nil},
		"nobody took it":           {90 * time.Second, answer(400, `{"errors":["failed to complete multi-factor authentication"]}`), nil, mfa.Timeout, "nobody answered it", nil},
		"vault gave up":            {90 * time.Second, answer(400, `{"errors":["exiting pending mfa challenge"]}`), nil, mfa.Timeout, "nobody answered it", nil},
		"okta is down":             {5 * time.Second, answer(400, `{"errors":["Okta auth failed: Post: dial tcp: no such host"]}`), nil, mfa.Unavailable, "break-glass", nil},
		"wrong password":           {5 * time.Second, answer(400, `{"errors":["okta authentication failed"]}`), nil, "", "", nil},
		"a load balancer gives up": {60 * time.Second, answer(504, "<html>"), nil, mfa.Timeout, "idle timeout", nil},
		"sealed":                   {0, answer(503, `{"errors":["Vault is sealed"]}`), nil, "", "", nil},
		"sealed while it rings":    {time.Second, answer(503, `{"errors":["Vault is sealed"]}`), nil, mfa.Unavailable, "(status 503)", nil},
		"gone at once":             {time.Second, nil, gone, mfa.Unavailable, "connection reset", nil},
		"gone while it rings":      {5 * time.Second, nil, gone, mfa.Timeout, "idle timeout", nil},
		"not there":                {0, nil, gone, "", "", gone},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, n := newMountFixture(t, nil)
		n.from = time.Hour
		v := &logins{delay: tt.delay, answers: []*http.Response{tt.resp}, err: tt.err}
		resp, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
		if resp != tt.resp || !errors.Is(err, tt.wantErr) || verdict.Outcome != tt.outcome || !strings.Contains(verdict.Message, tt.text) {
			t.Errorf("%v %+v %v", resp, verdict, err)
		}
	})
}

func TestOktaAppLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, leave)
		v := &logins{delay: time.Hour, answers: []*http.Response{answer(200, issued)}}
		resp, verdict, err := s.resolver.BodyLogin(ctx, mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
		if resp != nil || verdict.Outcome != "" || !errors.Is(err, context.Canceled) || s.broker.Len() != 0 {
			t.Errorf("%v %+v %v, %d notices", resp, verdict, err, s.broker.Len())
		}
		if slices.Contains(s.audit.events, audit.Denied) {
			t.Error("counted as a no")
		}
	})
}

// Logins on one path wait for each other, and share the no.
func TestOktaOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		v := &logins{delay: 10 * time.Second, answers: []*http.Response{answer(400, oktaDenied)}}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				_, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send)
				if err != nil || verdict.Outcome != mfa.Denied {
					t.Errorf("%+v %v", verdict, err)
				}
			})
		}
		all.Wait()
		if v.count() != 1 {
			t.Errorf("%d pushes", v.count())
		}
	})
}

// Who is never asked logs in as if we were not there; a path that was denied too often
// does not ring any more.
func TestMountLoginSilence(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]mfa.MountKind{"okta": mfa.OktaMount, "legacy": mfa.LegacyMount} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				never := true
				s, n := newMountFixture(t, func(c *stepup.Config) {
					c.NeverPrompt = factor.NeverPrompt{Match: func(peer.Peer) bool { return never }}
				})
				s.person.codes("no", "no", "no")
				v := &logins{delay: 5 * time.Second, answers: []*http.Response{answer(400, oktaDenied)}}
				resp, verdict, err := s.resolver.BodyLogin(identified(t), mountLogin(t, kind), oktaRequest, v.send)
				if err != nil || verdict.Outcome != "" || resp.StatusCode != 400 || string(v.sent[0].Bytes()) != `{"password":"p"}` {
					t.Errorf("%v %+v %v", resp, verdict, err)
				}
				if len(s.person.asked) != 0 || len(n.asked) != 0 {
					t.Error("somebody was asked")
				}
				never = false
				for range 3 {
					_, verdict, _ = s.resolver.BodyLogin(identified(t), mountLogin(t, kind), oktaRequest, v.send)
					if verdict.Outcome != mfa.Denied {
						t.Errorf("%+v", verdict)
					}
					time.Sleep(time.Minute)
				}
				sent := v.count()
				_, verdict, err = s.resolver.BodyLogin(identified(t), mountLogin(t, kind), oktaRequest, v.send)
				if err != nil || verdict.Outcome != mfa.Cooldown || !strings.Contains(verdict.Message, "three times") || v.count() != sent {
					t.Errorf("%+v %v", verdict, err)
				}
			})
		})
	}
}

// With confirm_push nothing that may ring is sent before somebody said yes, nor where
// nobody can be asked.
func TestMountConfirmPush(t *testing.T) {
	t.Parallel()
	type test struct {
		kind    mfa.MountKind
		answers []string
		never   bool
		outcome mfa.Outcome
		sent    int
	}
	tests := map[string]test{
		"okta, yes":     {mfa.OktaMount, []string{"yes"}, false, mfa.Approved, 1},
		"okta, no":      {mfa.OktaMount, []string{"no"}, false, mfa.Denied, 0},
		"okta, nobody":  {mfa.OktaMount, nil, false, mfa.Unavailable, 0},
		"okta, never":   {mfa.OktaMount, nil, true, mfa.Unavailable, 0},
		"duo, push":     {mfa.LegacyMount, []string{"push"}, false, mfa.Approved, 1},
		"duo, nobody":   {mfa.LegacyMount, nil, false, mfa.Unavailable, 0},
		"renewal, yes":  {0, []string{"yes"}, false, mfa.Approved, 1},
		"renewal, no":   {0, []string{"no"}, false, mfa.Denied, 0},
		"renewal never": {0, nil, true, mfa.Unavailable, 0},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, _ := newMountFixture(t, func(c *stepup.Config) {
			c.ConfirmPush = true
			c.NeverPrompt = factor.NeverPrompt{Match: func(peer.Peer) bool { return tt.never }}
		})
		answers := tt.answers
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			switch {
			case r.Kind == prompt.Push:
				<-ctx.Done()
				return "", ctx.Err()
			case len(answers) == 0:
				return "", prompt.ErrUnavailable
			case answers[0] == "no":
				return "", prompt.ErrDenied
			}
			next := answers[0]
			answers = answers[1:]
			return next, nil
		}
		v := &logins{delay: 5 * time.Second, answers: []*http.Response{answer(200, issued)}}
		var verdict mfa.Verdict
		var err error
		if tt.kind == 0 {
			s.vault.path = "auth/okta/login/alice"
			_, verdict, err = s.resolver.Renew(identified(t), "hvs.okta", renewal("renew-self"), func(ctx context.Context) (*http.Response, error) {
				return v.send(ctx, mfa.LoginBody{})
			})
		} else {
			_, verdict, err = s.resolver.BodyLogin(identified(t), mountLogin(t, tt.kind), oktaRequest, v.send)
		}
		if err != nil || verdict.Outcome != tt.outcome || v.count() != tt.sent {
			t.Errorf("%+v %v after %d sendings", verdict, err, v.count())
		}
	})
}
