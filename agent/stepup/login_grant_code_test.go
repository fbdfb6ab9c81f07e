package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// heldBy is a held login that any of these methods meets.
func heldBy(methods ...string) string {
	return `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r","mfa_constraints":{"a":{"any":[` + strings.Join(methods, ",") + `]}}}}}`
}

const (
	heldTOTP   = `{"type":"totp","id":"m1","uses_passcode":true,"name":"totp"}`
	heldSecond = `{"type":"totp","id":"m2","uses_passcode":true,"name":"second"}`
	heldPhone  = `{"type":"okta","id":"m3","uses_passcode":false,"name":"okta"}`
	heldNew    = `{"type":"totp","id":"m1","uses_passcode":true,"name":"totp","self_enrollment_enabled":true}`
)

// withCode is secure with one method, whose code may come with the password.
func withCode(methods ...string) rule.Match {
	m := secure()
	m.Rule.Methods = methods
	return m
}

// logsIn makes a Vault that takes the password "pw" and any code but 000000.
func (s *fixture) logsIn(held string) {
	s.vault.login = func(_ context.Context, r vault.LoginRequest) (*http.Response, error) {
		if r.Password.Reveal() != "pw" {
			return answer(400, `{"errors":["invalid username or password"]}`), nil
		}
		if held == "" {
			return minted("new", 300, 0), nil
		}
		return answer(200, held), nil
	}
	s.vault.validate = func(_ context.Context, payload map[string][]string) (*http.Response, error) {
		for _, codes := range payload {
			if codes[0] == "000000" {
				return answer(403, wrongText), nil
			}
		}
		return minted("new", 300, 0), nil
	}
}

const (
	askedBoth  = "password auth/stepup/login/alice 1/3 "
	askedAgain = "password auth/stepup/login/alice 2/3 wrong password (invalid username or password)"
)

func TestLoginGrantWithCode(t *testing.T) {
	t.Parallel()
	codes := func(method string, all ...string) (payloads []map[string][]string) {
		for _, code := range all {
			payloads = append(payloads, map[string][]string{method: {code}})
		}
		return payloads
	}
	type test struct {
		methods   []string
		held      string
		answers   []string // to prompts, in order
		asked     []string
		validated []map[string][]string
		passwords []string
	}
	tests := map[string]test{
		"both at once": {
			held: heldBy(heldTOTP), answers: []string{"pw\n111111"},
			asked: []string{askedBoth}, validated: codes("m1", "111111"),
		},
		"the method is named by its id": {
			methods: []string{"m2"}, held: heldBy(heldSecond), answers: []string{"pw\n111111"},
			asked: []string{askedBoth}, validated: codes("m2", "111111"),
		},
		"wrong password: the code was not sent": {
			held: heldBy(heldTOTP), answers: []string{"bad\n111111", "pw\n111111"},
			asked: []string{askedBoth, askedAgain}, validated: codes("m1", "111111"), passwords: []string{"bad", "pw"},
		},
		"wrong password: the next answer has no code": {
			held: heldBy(heldTOTP), answers: []string{"bad\n000000", "pw", "111111"},
			asked: []string{askedBoth, askedAgain, "passcode totp 1/3 "}, validated: codes("m1", "111111"), passwords: []string{"bad", "pw"},
		},
		"wrong code": {
			held: heldBy(heldTOTP), answers: []string{"pw\n000000", "111111"},
			asked:     []string{askedBoth, "passcode totp 2/3 wrong code, or one that was used: wait for the next one"},
			validated: codes("m1", "000000", "111111"),
		},
		"no code of that method": {
			held: heldBy(heldTOTP), answers: []string{"pw\n1111", "111111"},
			asked: []string{askedBoth, "passcode totp 2/3 a code of this method has 6 digits"}, validated: codes("m1", "111111"),
		},
		"password alone": {
			held: heldBy(heldTOTP), answers: []string{"pw", "111111"},
			asked: []string{askedBoth, "passcode totp 1/3 "}, validated: codes("m1", "111111"),
		},
		"vault wants another method": {
			held: heldBy(heldSecond), answers: []string{"pw\n222222", "111111"},
			asked: []string{askedBoth, "passcode second 1/3 "}, validated: codes("m2", "111111"),
		},
		"vault wants a push": {
			held: heldBy(`{"type":"okta","id":"m1","uses_passcode":false,"name":"totp"}`), answers: []string{"pw\n222222"},
			asked: []string{askedBoth}, validated: codes("m1", ""),
		},
		"vault wants no factor": {held: "", answers: []string{"pw\n111111"}, asked: []string{askedBoth}},
		"the code decides between two": {
			held: heldBy(heldSecond, heldTOTP), answers: []string{"pw\n111111"},
			asked: []string{askedBoth}, validated: codes("m1", "111111"),
		},
		"no phone rings beside it": {
			held: heldBy(heldTOTP, heldPhone), answers: []string{"pw\n111111"},
			asked: []string{askedBoth}, validated: codes("m1", "111111"),
		},
		"no authenticator yet": {
			held: heldBy(heldNew), answers: []string{"pw\n222222", "yes", "111111"},
			asked: []string{
				askedBoth,
				"confirm totp 1/3 vault has no secret of yours for this method yet, and offers to set one up: have an authenticator at hand",
				"passcode totp 1/3 ",
			}, validated: codes("m1", "111111"),
		},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, func(c *stepup.Config) { c.Methods["m2"] = mfa.Method{Type: "totp", Name: "m2", UsesPasscode: true} })
		s.person.codes(tt.answers...)
		s.logsIn(tt.held)
		methods := tt.methods
		if methods == nil {
			methods = []string{"totp"}
		}
		_, v, err := first(t.Context(), s, withCode(methods...), &sending{right: "token new"})
		if err != nil || v.Outcome != mfa.Approved {
			t.Errorf("%+v %v", v, err)
		}
		synctest.Wait()
		if d := cmp.Diff(tt.asked, s.person.messages()); d != "" {
			t.Errorf("asked: %s", d)
		}
		if d := cmp.Diff(tt.validated, s.vault.validated); d != "" {
			t.Errorf("validated: %s", d)
		}
		if d := cmp.Diff(tt.passwords, s.vault.passwords); tt.passwords != nil && d != "" {
			t.Errorf("passwords: %s", d)
		}
	})
}

// One prompt stands in the audit log, and the factor with the approval.
func TestLoginGrantWithCodeAudited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("pw\n111111")
		s.logsIn(heldBy(heldTOTP))
		if _, v, err := first(t.Context(), s, withCode("totp"), &sending{right: "token new"}); err != nil || v.Outcome != mfa.Approved {
			t.Errorf("%+v %v", v, err)
		}
		if d := cmp.Diff([]audit.Event{audit.Challenge, audit.Prompt, audit.Approved}, s.audit.events); d != "" {
			t.Errorf("audited: %s", d)
		}
		if s.audit.last.Method != "totp" {
			t.Errorf("the approval is by %q", s.audit.last.Method)
		}
	})
}

// A code that came along is sent once, whatever it came with: the next step-up asks
// for another one.
func TestLoginGrantCodeIsSentOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("pw\n111111", "pw\n111111", "222222")
		s.logsIn(heldBy(heldTOTP))
		for _, token := range []string{"tok", "other"} {
			up := &sending{right: "token new"}
			if _, v := s.resolver.StepUp(t.Context(), withCode("totp"), secret.Secret(token), up.send); v.Outcome != mfa.Approved {
				t.Errorf("%s: %+v", token, v)
			}
		}
		want := []string{askedBoth, askedBoth, "passcode totp 2/3 that code was sent already: wait for the next one"}
		if d := cmp.Diff(want, s.person.messages()); d != "" {
			t.Errorf("asked: %s", d)
		}
		sent := []map[string][]string{{"m1": {"111111"}}, {"m1": {"222222"}}}
		if d := cmp.Diff(sent, s.vault.validated); d != "" {
			t.Errorf("validated: %s", d)
		}
	})
}

// The keyring keeps the password, and nothing of the code.
func TestLoginGrantKeepsThePasswordAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("pw\n111111")
		s.logsIn(heldBy(heldTOTP))
		m := withCode("totp")
		m.Rule.Grant.Password = "keyring"
		if _, v, err := first(t.Context(), s, m, &sending{right: "token new"}); err != nil || v.Outcome != mfa.Approved {
			t.Errorf("%+v %v", v, err)
		}
		if d := cmp.Diff([]string{"pw"}, s.secrets.kept); d != "" {
			t.Errorf("kept: %s", d)
		}
	})
}

// A code is offered only where it is certain that one is typed.
func TestLoginGrantOffersTheCode(t *testing.T) {
	t.Parallel()
	type test struct {
		methods []string
		change  func(*stepup.Config)
		want    prompt.WithCode
	}
	run(t, map[string]test{
		"one method":           {methods: []string{"totp"}, want: prompt.WithCode{Method: "totp", Digits: 6}},
		"digits are not known": {methods: []string{"second"}, want: prompt.WithCode{Method: "second"}},
		"none is named":        {},
		"two":                  {methods: []string{"totp", "second"}},
		"a push":               {methods: []string{"okta"}},
		"a code or a push":     {methods: []string{"duo"}},
		"a program gives it":   {methods: []string{"totp"}, change: func(c *stepup.Config) { c.Commands = map[string][]string{"totp": {"ykman"}} }},
		"a kept seed gives it": {methods: []string{"totp"}, change: func(c *stepup.Config) { c.FromSeed = map[string]bool{"totp": true} }},
		"nothing is declared":  {methods: []string{"strange"}},
	}, func(t *testing.T, tt test) {
		s := newFixture(t, tt.change)
		s.person.codes("no")
		s.logsIn("")
		if _, v, err := first(t.Context(), s, withCode(tt.methods...), &sending{right: "token new"}); err != nil || v.Outcome != mfa.Denied {
			t.Errorf("%+v %v", v, err)
		}
		if asked := s.person.asked; len(asked) != 1 || asked[0].WithCode != tt.want {
			t.Errorf("asked %+v, want it to offer %+v", asked, tt.want)
		}
	})
}
