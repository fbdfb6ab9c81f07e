package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

func TestFirst(t *testing.T) {
	t.Parallel()
	type test struct {
		methods []string
		delay   time.Duration
		status  int
		told    bool
		outcome mfa.Outcome
	}
	tests := map[string]test{
		"no push method":         {[]string{"totp"}, 10 * time.Millisecond, 403, false, ""},
		"a push nobody named":    {[]string{"totp"}, 10 * time.Second, 403, false, mfa.Unavailable},
		"a slow answer":          {[]string{"totp"}, 10 * time.Second, 200, false, ""},
		"push approved":          {[]string{"okta"}, 10 * time.Second, 200, true, mfa.Approved},
		"push refused":           {[]string{"okta"}, 10 * time.Second, 403, true, mfa.Denied},
		"no push was needed":     {[]string{"okta"}, 10 * time.Millisecond, 200, false, ""},
		"an ordinary 403":        {[]string{"okta"}, 10 * time.Millisecond, 403, false, ""},
		"refused at once":        {[]string{"okta"}, 2 * time.Second, 403, true, mfa.Denied},
		"slow vault, an error":   {[]string{"okta"}, 10 * time.Second, 500, true, ""},
		"told within one second": {[]string{"okta"}, 999 * time.Millisecond, 200, true, mfa.Approved},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		resp, v, err := s.resolver.First(t.Context(), prod(tt.methods...), "tok",
			func(ctx context.Context, _ []mfa.Credential, _ cache.Token) (*http.Response, error) {
				time.Sleep(tt.delay)
				return answer(tt.status, generic), nil
			})
		if err != nil || resp.StatusCode != tt.status || v.Outcome != tt.outcome {
			t.Errorf("answer %v, verdict %+v, %v", resp, v, err)
		}
		if told := len(s.person.messages()) > 0; told != tt.told {
			t.Errorf("told: %v", told)
		}
		if n := s.broker.Len(); n != 0 {
			t.Errorf("%d notices stay open", n)
		}
	})
}

func TestSlowOrdinaryDenial(t *testing.T) {
	t.Parallel()
	for method, delay := range map[string]time.Duration{"okta": 2 * time.Second, "totp": 10 * time.Second} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.vault.capabilities = []string{"list"}
				_, v, err := s.resolver.First(t.Context(), prod(method), "tok", (&sending{right: "-", delay: delay}).send)
				if err != nil || v.Outcome != "" {
					t.Errorf("verdict %+v, %v", v, err)
				}
			})
		})
	}
}

// The clock of a push starts when Vault has the request: connecting may take
// longer than any answer.
func TestSlowConnectionIsNoPush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		_, v, err := s.resolver.First(t.Context(), prod("totp"), "tok",
			func(ctx context.Context, _ []mfa.Credential, _ cache.Token) (*http.Response, error) {
				time.Sleep(time.Minute)
				httptrace.ContextClientTrace(ctx).WroteRequest(httptrace.WroteRequestInfo{})
				return answer(403, generic), nil
			})
		if err != nil || v.Outcome != "" {
			t.Errorf("verdict %+v, %v", v, err)
		}
	})
}

// A denial here drops the request at Vault; while it cools down nothing is
// sent, because sending is what pushes.
func TestPushDeniedHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(5 * time.Second)
			return "", prompt.ErrDenied
		}
		up := &sending{delay: time.Minute}
		resp, v, err := s.resolver.First(t.Context(), prod("okta"), "tok", up.send)
		if resp != nil || err != nil || v.Outcome != mfa.Denied {
			t.Fatalf("answer %v, verdict %+v, %v", resp, v, err)
		}
		resp, v, err = s.resolver.First(t.Context(), prod("okta"), "tok", up.send)
		if resp != nil || err != nil || v.Outcome != mfa.Cooldown {
			t.Errorf("answer %v, verdict %+v, %v", resp, v, err)
		}
		if len(up.lines) != 1 {
			t.Errorf("sent %d times", len(up.lines))
		}
	})
}

func TestVaultIsGoneWhileItPushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		gone := errors.New("connection reset")
		_, v, err := s.resolver.First(t.Context(), prod("okta"), "tok",
			func(context.Context, []mfa.Credential, cache.Token) (*http.Response, error) {
				time.Sleep(5 * time.Second)
				return nil, gone
			})
		if !errors.Is(err, gone) || v.Outcome != "" {
			t.Errorf("verdict %+v, %v", v, err)
		}
	})
}

// A 403 after a long block is final: no second push is sent for it.
func TestRefusedPushIsNotRepeated(t *testing.T) {
	t.Parallel()
	type test struct {
		methods []string
		step    func(verdicts, context.Context, rule.Match, *sending) mfa.Verdict
		outcome mfa.Outcome
	}
	tests := map[string]test{
		"a code together with a push": {[]string{"totp", "okta"}, func(r verdicts, ctx context.Context, m rule.Match, up *sending) mfa.Verdict {
			_, v, _ := r.First(ctx, m, "tok", up.send)
			return v
		}, mfa.Denied},
		"a push that the rule does not name": {[]string{"totp"}, func(r verdicts, ctx context.Context, m rule.Match, up *sending) mfa.Verdict {
			_, v := r.StepUp(ctx, m, "tok", up.send)
			return v
		}, mfa.Unavailable},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222")
		up := &sending{right: "-", delay: 10 * time.Second}
		if v := tt.step(s.resolver, t.Context(), prod(tt.methods...), up); v.Outcome != tt.outcome || len(up.lines) != 1 {
			t.Errorf("verdict %+v after %v", v, up.lines)
		}
	})
}

// A lock is not a person's word about this push.
func TestPushIsCancelledByALock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		go func() {
			time.Sleep(5 * time.Second)
			s.broker.CancelAll()
		}()
		_, v, err := s.resolver.First(t.Context(), prod("okta"), "tok", (&sending{delay: time.Minute}).send)
		if err != nil || v.Outcome != mfa.Denied || !strings.Contains(v.Message, "cancelled by stepup lock") {
			t.Errorf("verdict %+v, %v", v, err)
		}
	})
}

func TestPushOfAnAppThatLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var err error
		all.Go(func() { _, _, err = s.resolver.First(ctx, prod("okta"), "tok", (&sending{delay: time.Hour}).send) })
		time.Sleep(5 * time.Second)
		leave()
		all.Wait()
		if !errors.Is(err, context.Canceled) || s.broker.Len() != 0 {
			t.Errorf("%v, %d notices open", err, s.broker.Len())
		}
		if slices.Contains(s.audit.events, audit.Denied) || strings.Contains(strings.Join(s.person.messages(), ""), "denied") {
			t.Errorf("counted as a no: %v", s.audit.events)
		}
	})
}
