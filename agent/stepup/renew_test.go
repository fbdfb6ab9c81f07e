package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

func renewal(path string) rule.Request {
	return rule.Request{Path: "auth/token/" + path, Operation: rule.Update}
}

// oktaToken logs in so that the ledger knows a token of Okta's.
func (s *fixture) oktaToken(t *testing.T) (token, accessor secret.Secret) {
	t.Helper()
	v := &logins{answers: []*http.Response{answer(200, issued)}}
	if _, _, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.OktaMount), oktaRequest, v.send); err != nil {
		t.Fatal(err)
	}
	return "hvs.okta", "acc"
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	type test struct {
		delay   time.Duration
		resp    *http.Response
		outcome mfa.Outcome
		text    string
	}
	tests := map[string]test{
		"approved":          {5 * time.Second, answer(200, issued), mfa.Approved, ""},
		"okta wants none":   {0, answer(200, issued), "", ""},
		"refused":           {5 * time.Second, answer(400, oktaDenied), mfa.Denied, "refused on the phone"},
		"wants a number":    {time.Second, answer(400, `{"errors":["nonce must be provided during login request when presented with number challenge"]}`), mfa.Unavailable, "log in again instead"},
		"wants a code":      {0, answer(400, `{"errors":["'totp' passcode parameter is required to perform MFA"]}`), mfa.Unavailable, "log in again instead"},
		"not renewable":     {0, answer(400, `{"errors":["lease is not renewable"]}`), "", ""},
		"cut by a balancer": {time.Minute, answer(504, ""), mfa.Timeout, "idle timeout"},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, _ := newMountFixture(t, nil)
		token, accessor := s.oktaToken(t)
		for path, subject := range map[string]secret.Secret{"renew-self": token, "renew-accessor": accessor} {
			var told, sent time.Time
			s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
				if told = time.Now(); r.Message != "renewing your Okta token sends a push" || r.Kind != prompt.Push {
					t.Errorf("told %+v", r)
				}
				<-ctx.Done()
				return "", ctx.Err()
			}
			resp, verdict, err := s.resolver.Renew(t.Context(), subject, renewal(path), func(context.Context) (*http.Response, error) {
				sent = time.Now()
				time.Sleep(tt.delay)
				return answer(tt.resp.StatusCode, string(peek(tt.resp))), nil
			})
			if err != nil || resp.StatusCode != tt.resp.StatusCode || verdict.Outcome != tt.outcome || !strings.Contains(verdict.Message, tt.text) {
				t.Errorf("%v %+v %v", resp, verdict, err)
			}
			if tt.delay > 0 && told.After(sent) {
				t.Errorf("told %s after it was sent", told.Sub(sent))
			}
		}
		if s.vault.lookups != 0 {
			t.Errorf("%d lookups", s.vault.lookups)
		}
	})
}

// peek reads a body and puts it back.
func peek(resp *http.Response) []byte {
	data := make([]byte, 4096)
	n, _ := resp.Body.Read(data)
	resp.Body = answer(resp.StatusCode, string(data[:n])).Body
	return data[:n]
}

// What is not Okta's is renewed without a word, after one question about each token.
func TestRenewalOfOtherTokens(t *testing.T) {
	t.Parallel()
	for name, lookup := range map[string]struct {
		err     error
		lookups int // after two renewals
	}{
		"made elsewhere":         {nil, 1},
		"may not look itself up": {dead(), 1},
		"vault is not there":     {errors.New("connection refused"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _ := newMountFixture(t, nil)
				s.vault.lookup = lookup.err
				for range 2 {
					resp, verdict, err := s.resolver.Renew(t.Context(), "hvs.other", renewal("renew-self"), func(context.Context) (*http.Response, error) {
						time.Sleep(10 * time.Second)
						return answer(200, issued), nil
					})
					if err != nil || resp.StatusCode != 200 || verdict.Outcome != "" {
						t.Errorf("%v %+v %v", resp, verdict, err)
					}
				}
				if _, _, err := s.resolver.Renew(t.Context(), "unknown", renewal("renew-accessor"), func(context.Context) (*http.Response, error) { return answer(200, ""), nil }); err != nil {
					t.Error(err)
				}
				if s.vault.lookups != lookup.lookups || len(s.person.asked) != 0 {
					t.Errorf("%d lookups, told %v", s.vault.lookups, s.person.asked)
				}
			})
		})
	}
}

// After a no the next renewal is not sent: a program renews again and again.
func TestRenewalCoolsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		token, _ := s.oktaToken(t)
		sent := 0
		for _, want := range []mfa.Outcome{mfa.Denied, mfa.Cooldown, mfa.Cooldown} {
			_, verdict, err := s.resolver.Renew(t.Context(), token, renewal("renew-self"), func(context.Context) (*http.Response, error) {
				sent++
				time.Sleep(5 * time.Second)
				return answer(400, oktaDenied), nil
			})
			if err != nil || verdict.Outcome != want {
				t.Errorf("%+v %v, want %s", verdict, err, want)
			}
		}
		if sent != 1 {
			t.Errorf("sent %d times", sent)
		}
	})
}

// A no in the notice takes the renewal back.
func TestRenewalDeniedHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		token, _ := s.oktaToken(t)
		s.person.codes("no")
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(time.Second)
			return "", prompt.ErrDenied
		}
		resp, verdict, err := s.resolver.Renew(t.Context(), token, renewal("renew-self"), func(ctx context.Context) (*http.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if resp != nil || err != nil || verdict.Outcome != mfa.Denied {
			t.Errorf("%v %+v %v", resp, verdict, err)
		}
	})
}

// What is remembered of tokens is bounded, the oldest goes first.
func TestOriginsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		renew := func(token secret.Secret) {
			_, _, err := s.resolver.Renew(t.Context(), token, renewal("renew-self"), func(context.Context) (*http.Response, error) { return answer(200, ""), nil })
			if err != nil {
				t.Error(err)
			}
		}
		for i := range 1025 {
			renew(secret.Secret("hvs." + strings.Repeat("x", i)))
		}
		renew(secret.Secret("hvs." + strings.Repeat("x", 1024)))
		if s.vault.lookups != 1025 {
			t.Errorf("%d lookups", s.vault.lookups)
		}
		if renew("hvs."); s.vault.lookups != 1026 {
			t.Errorf("%d lookups: the first is still known", s.vault.lookups)
		}
	})
}
