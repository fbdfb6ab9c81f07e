package stepup_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// Without a factor that Vault accepted there are at most so many questions of a topic in
// ten minutes, and up to two more of a step-up that has begun.
const mostQuestions = 14

// A program that cannot deny a question for the person has other ways to end it: it
// leaves, it answers with junk, it withdraws all of them. None of them asks for ever.
func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	junk := func() func(context.Context, prompt.Request) (string, error) {
		code := 0
		return func(context.Context, prompt.Request) (string, error) {
			time.Sleep(5 * time.Second)
			code++
			return fmt.Sprintf("%06d", code), nil
		}
	}
	never := func(ctx context.Context, _ prompt.Request) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	type test struct {
		request rule.Match
		answer  func(context.Context, prompt.Request) (string, error)
		once    func(t *testing.T, s *fixture, m rule.Match)
	}
	tests := map[string]test{
		"the app leaves": {prod("totp"), never, func(t *testing.T, s *fixture, m rule.Match) {
			ctx, leave := context.WithTimeout(t.Context(), 2*time.Second)
			defer leave()
			s.resolver.StepUp(ctx, m, "a", (&sending{}).send)
		}},
		"junk codes": {prod("totp"), junk(), func(t *testing.T, s *fixture, m rule.Match) {
			s.resolver.StepUp(t.Context(), m, "a", (&sending{}).send)
			time.Sleep(31 * time.Second)
		}},
		"junk codes for a token": {deploy(), junk(), func(t *testing.T, s *fixture, m rule.Match) {
			s.resolver.StepUp(t.Context(), m, "a", (&sending{}).send)
			time.Sleep(31 * time.Second)
		}},
		"withdrawn": {prod("totp"), never, func(t *testing.T, s *fixture, m rule.Match) {
			time.AfterFunc(5*time.Second, s.broker.CancelAll)
			s.resolver.StepUp(t.Context(), m, "a", (&sending{}).send)
			time.Sleep(26 * time.Second)
		}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.vault.mint = mintsWith("totp:xxxxxx", "t")
		s.person.answer = tt.answer
		for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(time.Second) {
			tt.once(t, s, tt.request)
		}
		if n := len(s.person.messages()); n > mostQuestions {
			t.Errorf("%d questions in ten minutes", n)
		}
	})
}

// A name in capitals is the same login: userpass and ldap do not tell them apart.
func TestSpellingsOfALoginAreOneTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		for i, name := range []string{"alice", "Alice", "aLice", "alIce", "aliCe", "ALICE"} {
			s.person.codes("no")
			q := rule.Request{Path: "auth/userpass/login/" + name, Operation: rule.Update}
			c := mfa.Challenge{RequestID: fmt.Sprint(i), Constraints: []mfa.Constraint{{Name: "e", Any: []mfa.Method{{Type: "totp", ID: "id", Name: "totp", UsesPasscode: true}}}}}
			s.resolver.Login(t.Context(), c, q)
		}
		if n := len(s.person.messages()); n != 3 {
			t.Errorf("%d questions, want 3", n)
		}
	})
}

// An answer that says nothing of the factor ends no silence: Vault's rate limit, or a
// wrong password, comes before a junk code is looked at.
func TestOtherErrorsEndNoSilence(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusPreconditionFailed, http.StatusBadRequest} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				silenced(t, s)
				m := prod("totp")
				m.Rule.Name = "other"
				s.person.codes("000000")
				s.resolver.StepUp(t.Context(), m, "z", func(context.Context, []mfa.Credential, cache.Token) (*http.Response, error) {
					return answer(status, `{"errors":["request path \"kv\": rate limit quota exceeded"]}`), nil
				})
				if len(s.state.Denials.All()) != 1 {
					t.Errorf("silenced %v", s.state.Denials.All())
				}
			})
		})
	}
	t.Run("wrong password in one phase", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFixture(t, func(c *stepup.Config) { c.SinglePhase = stepup.SinglePhase{Methods: []string{"totp"}} })
			silenced(t, s)
			before := len(s.person.messages())
			q := rule.Request{Path: "auth/userpass/login/alice", Operation: rule.Update}
			for i := range 20 {
				s.person.codes(fmt.Sprintf("%06d", i))
				s.resolver.LoginWith(t.Context(), q, false, (&loginVault{refusal: `{"errors":["invalid username or password"]}`}).send)
			}
			if n := len(s.person.messages()) - before; n > mostQuestions {
				t.Errorf("%d questions", n)
			}
			if v := about(t.Context(), s, "prod", "y", "no"); v.Outcome != mfa.Cooldown {
				t.Errorf("the silence of prod has ended: %+v", v)
			}
		})
	})
}
