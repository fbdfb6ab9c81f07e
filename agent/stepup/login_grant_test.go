package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

const heldLogin = `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r","mfa_constraints":{"a":{"any":[{"type":"totp","id":"m1","uses_passcode":true,"name":"corp"}]}}}}}`

func TestLoginGrant(t *testing.T) {
	t.Parallel()
	wrong := `{"errors":["invalid username or password"]}`
	type test struct {
		answers   []string // to prompts, in order
		logins    []*http.Response
		validates []*http.Response
		outcome   mfa.Outcome
		text      string
		passwords []string
		asked     []string
		kept      []string
		change    func(*fixture, *rule.Grant)
	}
	tests := map[string]test{
		"password and code": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"pw"}, asked: []string{"password auth/stepup/login/alice 1/3 ", "passcode corp 1/3 "},
		},
		"wrong password, then wrong code": {
			answers: []string{"bad", "pw", "000000", "111111"}, logins: []*http.Response{answer(400, wrong), answer(200, heldLogin)},
			validates: []*http.Response{answer(403, wrongText), minted("new", 300, 0)}, outcome: mfa.Approved, passwords: []string{"bad", "pw"},
			asked: []string{
				"password auth/stepup/login/alice 1/3 ", "password auth/stepup/login/alice 2/3 wrong password (invalid username or password)",
				"passcode corp 1/3 ", "passcode corp 2/3 wrong code, or one that was used: wait for the next one",
			},
		},
		"no second factor asked": {
			answers: []string{"pw"}, logins: []*http.Response{minted("new", 300, 0)}, outcome: mfa.Approved, passwords: []string{"pw"},
		},
		"password from the keyring": {
			answers: []string{"111111"}, logins: []*http.Response{answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"kept"},
			change: func(s *fixture, g *rule.Grant) { g.Password, s.secrets.password = "keyring", "kept" },
		},
		"typed password is kept": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"pw"}, kept: []string{"pw"},
			change: func(_ *fixture, g *rule.Grant) { g.Password = "keyring" },
		},
		"kept password is wrong": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(400, wrong), answer(200, heldLogin)}, validates: []*http.Response{minted("new", 300, 0)},
			outcome: mfa.Approved, passwords: []string{"old", "pw"}, kept: []string{"", "pw"},
			change: func(s *fixture, g *rule.Grant) { g.Password, s.secrets.password = "keyring", "old" },
		},
		"password of a command is wrong": {
			logins: []*http.Response{answer(400, wrong)}, outcome: mfa.Rejected, text: "invalid username or password", passwords: []string{"cmd"},
			change: func(s *fixture, g *rule.Grant) {
				g.Password, g.PasswordCommand, s.secrets.password = "", []string{"pass"}, "cmd"
			},
		},
		"passwords used up": {
			answers: []string{"a", "b", "c"}, logins: []*http.Response{answer(400, wrong), answer(400, wrong), answer(400, wrong)}, outcome: mfa.Rejected,
			text: "did not accept the password", passwords: []string{"a", "b", "c"},
		},
		"no such path":     {answers: []string{"pw"}, logins: []*http.Response{answer(404, `{"errors":["no handler"]}`)}, outcome: mfa.Unavailable, text: "no handler", passwords: []string{"pw"}},
		"password denied":  {answers: []string{"no"}, outcome: mfa.Denied},
		"code denied":      {answers: []string{"pw", "no"}, logins: []*http.Response{answer(200, heldLogin)}, outcome: mfa.Denied, passwords: []string{"pw"}},
		"broken challenge": {answers: []string{"pw"}, logins: []*http.Response{answer(200, heldLogin[:99])}, outcome: mfa.Unavailable, text: "without a token", passwords: []string{"pw"}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.person.codes(tt.answers...)
		m := secure()
		if tt.change != nil {
			tt.change(s, &m.Rule.Grant)
		}
		s.vault.login = func(context.Context, vault.LoginRequest) (*http.Response, error) {
			next := tt.logins[0]
			tt.logins = tt.logins[1:]
			return next, nil
		}
		s.vault.validate = func(context.Context, map[string][]string) (*http.Response, error) {
			next := tt.validates[0]
			tt.validates = tt.validates[1:]
			return next, nil
		}
		_, v, err := first(t.Context(), s, m, &sending{right: "token new"})
		if err != nil || v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("%+v %v, want %s %q", v, err, tt.outcome, tt.text)
		}
		if d := cmp.Diff(tt.passwords, s.vault.passwords); d != "" {
			t.Errorf("passwords: %s", d)
		}
		if d := cmp.Diff(tt.kept, s.secrets.kept); d != "" {
			t.Errorf("kept: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
	})
}

// A kept seed is used only after the person said yes, and never twice in a
// period.
func TestCodeFromSeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, func(c *stepup.Config) { c.FromSeed = map[string]bool{"totp": true} })
		s.secrets.codes = []secret.Secret{"111111", "222222"}
		s.person.codes("yes", "yes")
		sent := []string{}
		for range 2 {
			up := &sending{right: "-"}
			done := make(chan struct{})
			up.right = "totp:" + map[int]string{0: "111111", 1: "222222"}[len(sent)]
			go func() {
				defer close(done)
				if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send); v.Outcome != mfa.Approved {
					t.Errorf("%+v", v)
				}
			}()
			<-done
			sent = append(sent, up.lines...)
		}
		if d := cmp.Diff([]string{"totp:111111", "totp:222222"}, sent); d != "" {
			t.Error(d)
		}
		if got := s.person.messages(); len(got) != 2 || !strings.HasPrefix(got[0], "confirm totp") {
			t.Errorf("asked %v", got)
		}
		s.person.codes("no")
		if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send); v.Outcome != mfa.Denied {
			t.Errorf("without a yes: %+v", v)
		}
	})
}
