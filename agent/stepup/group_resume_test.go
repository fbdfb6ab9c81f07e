package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// opened makes a request that waits ten seconds in vain.
func opened(t *testing.T, s *fixture) {
	t.Helper()
	_, v := s.resolver.Await(t.Context(), payroll(10*time.Second), "tok", answer(200, heldBody))
	if v.Outcome != mfa.Timeout {
		t.Fatalf("verdict = %+v, want a timeout", v)
	}
}

// The next try of the same request goes on with the same approval. Nobody else's
// does, and no other request's.
func TestResume(t *testing.T) {
	t.Parallel()
	other := func(change func(*rule.Match)) rule.Match {
		m := payroll(time.Minute)
		change(&m)
		return m
	}
	type test struct {
		match  rule.Match
		token  secret.Secret
		change func(*fixture, *council)
		found  bool
	}
	tests := map[string]test{
		"the same request":     {match: payroll(time.Minute), token: "tok", found: true},
		"the rule was renamed": {match: other(func(m *rule.Match) { m.Rule.Name = "pay" }), token: "tok", found: true},
		"another caller":       {match: payroll(time.Minute), token: "other"},
		"another body":         {match: other(func(m *rule.Match) { m.Fingerprint = "x" }), token: "tok"},
		"an unknown body":      {match: other(func(m *rule.Match) { m.Fingerprint = "" }), token: "tok"},
		"another namespace":    {match: other(func(m *rule.Match) { m.Request.Namespace = "ns1" }), token: "tok"},
		"after stepup lock":    {match: payroll(time.Minute), token: "tok", change: func(s *fixture, _ *council) { s.state.Cancel() }},
		"after its time":       {match: payroll(time.Minute), token: "tok", change: func(*fixture, *council) { time.Sleep(time.Hour) }},
		"vault knows it no more": {match: payroll(time.Minute), token: "tok", change: func(_ *fixture, c *council) {
			c.askErr = func(int) error { return statusError(400) }
		}},
		"the token was revoked": {match: payroll(time.Minute), token: "tok", change: func(_ *fixture, c *council) {
			c.askErr = func(int) error { return statusError(403) }
		}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, c := hall(t)
		defer s.broker.Close()
		opened(t, s)
		if tt.change != nil {
			tt.change(s, c)
		}
		c.approveAt = time.Now().Add(5 * time.Second)
		resp, v := s.resolver.Resume(t.Context(), tt.match, tt.token)
		if !tt.found {
			if resp != nil || v.Outcome != "" || len(c.released) > 0 {
				t.Errorf("found %+v, released %d", v, len(c.released))
			}
			return
		}
		if got := bodyOf(t, resp); v.Outcome != mfa.Approved || got != "200 "+released {
			t.Errorf("verdict %+v, answer %s", v, got)
		}
		if _, v := s.resolver.Resume(t.Context(), tt.match, tt.token); v.Outcome != "" {
			t.Errorf("served twice: %+v", v)
		}
	})
}

// Many requests that are the same wait together: Vault is asked by one of them,
// the answer is fetched once, and every one gets it. The first may leave.
func TestResumeTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := hall(t)
		defer s.broker.Close()
		first, leave := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, v := s.resolver.Await(first, payroll(time.Hour), "tok", answer(200, heldBody)); v.OK() {
				t.Errorf("the one that left got %+v", v)
			}
		})
		synctest.Wait()
		var mu sync.Mutex
		var got []string
		for range 5 {
			waiting.Go(func() {
				resp, v := s.resolver.Resume(t.Context(), payroll(time.Hour), "tok")
				mu.Lock()
				defer mu.Unlock()
				got = append(got, string(v.Outcome)+" "+bodyOf(t, resp))
			})
		}
		synctest.Wait()
		time.Sleep(20 * time.Second)
		leave()
		c.mu.Lock()
		c.approveAt = time.Now().Add(time.Minute)
		c.mu.Unlock()
		waiting.Wait()
		for _, g := range got {
			if g != "approved 200 "+released {
				t.Error(g)
			}
		}
		if len(got) != 5 || len(c.released) != 1 {
			t.Errorf("%d answers, fetched %d times", len(got), len(c.released))
		}
		if n := len(c.asked); n > 20 {
			t.Errorf("asked %d times in 80 s by six requests", n)
		}
	})
}

// The app leaves in the moment in which the answer, which comes once, is fetched:
// its next try has it, within a minute, if its token is still alive.
func TestAnswerOutlivesItsApp(t *testing.T) {
	t.Parallel()
	type test struct {
		after time.Duration
		token secret.Secret
		dead  bool
		found bool
	}
	tests := map[string]test{
		"soon":              {after: 30 * time.Second, token: "tok", found: true},
		"too late":          {after: 2 * time.Minute, token: "tok"},
		"another caller":    {after: time.Second, token: "other"},
		"token was revoked": {after: time.Second, token: "tok", dead: true},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, c := hall(t)
		defer s.broker.Close()
		ctx, leave := context.WithCancel(t.Context())
		c.approveAt = time.Now().Add(5 * time.Second)
		c.release = func(int) (*http.Response, error) {
			leave()
			return answer(200, released), nil
		}
		s.resolver.Await(ctx, payroll(time.Hour), "tok", answer(200, heldBody))
		time.Sleep(tt.after)
		s.vault.callerDead = tt.dead
		resp, v := s.resolver.Resume(t.Context(), payroll(time.Hour), tt.token)
		if found := v.Outcome == mfa.Approved; found != tt.found {
			t.Fatalf("verdict %+v", v)
		}
		if tt.found && bodyOf(t, resp) != "200 "+released {
			t.Error("another answer")
		}
	})
}

// A person who gave up is left alone for the cool-down, and so is Vault.
func TestControlGroupCooldown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := hall(t)
		defer s.broker.Close()
		s.person.answer = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
		await := func() mfa.Verdict {
			_, v := s.resolver.Await(t.Context(), payroll(time.Hour), "tok", answer(200, heldBody))
			return v
		}
		if v := await(); v.Outcome != mfa.Denied {
			t.Fatalf("verdict %+v", v)
		}
		asked := len(c.asked)
		if v := await(); v.Outcome != mfa.Cooldown || len(c.asked) != asked {
			t.Errorf("verdict %+v, %d more questions", v, len(c.asked)-asked)
		}
		if _, v := s.resolver.Resume(t.Context(), payroll(time.Hour), "tok"); v.Outcome != "" {
			t.Errorf("a wait that was given up goes on: %+v", v)
		}
	})
}

// Memory is bounded: what comes beyond the limit is waited for and not remembered.
func TestApprovalsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := hall(t)
		defer s.broker.Close()
		match := func(i int) rule.Match {
			m := payroll(time.Second)
			m.Fingerprint = strings.Repeat("x", i+1)
			m.Rule.Silent = true
			return m
		}
		const many = 300
		for i := range many {
			s.resolver.Await(t.Context(), match(i), "tok", answer(200, heldBody))
		}
		found := 0
		for i := range many {
			if _, v := s.resolver.Resume(t.Context(), match(i), "tok"); v.Outcome != "" {
				found++
			}
		}
		if found != 256 {
			t.Errorf("%d are remembered", found)
		}
	})
}

// Under a token or login grant the request was sent with the step-up token: Vault is
// asked with that one, and only for a caller whose own is still alive.
func TestControlGroupBehindAToken(t *testing.T) {
	t.Parallel()
	for name, dead := range map[string]bool{"alive": false, "revoked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c := hall(t)
				defer s.broker.Close()
				held := answer(200, heldBody)
				held.Request = &http.Request{Header: http.Header{"X-Vault-Token": {"hvs.stepup"}}}
				if _, v := s.resolver.Await(t.Context(), payroll(10*time.Second), "tok", held); v.Outcome != mfa.Timeout {
					t.Fatalf("verdict %+v", v)
				}
				s.vault.callerDead = dead
				c.approveAt = time.Now()
				_, v := s.resolver.Resume(t.Context(), payroll(time.Minute), "tok")
				if dead {
					if v.Outcome != "" || len(c.released) > 0 {
						t.Errorf("a dead caller got %+v", v)
					}
					return
				}
				if v.Outcome != mfa.Approved || len(c.released) != 1 || c.released[0].Caller != "hvs.stepup" {
					t.Errorf("verdict %+v, %d released", v, len(c.released))
				}
			})
		})
	}
}

func statusError(status int) error { return &vault.StatusError{Status: status} }
