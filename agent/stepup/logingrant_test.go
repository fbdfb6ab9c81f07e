package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

func TestLoginGrant(t *testing.T) {
	type test struct {
		answers   []string // to prompts, in order
		logins    []*http.Response
		validates []*http.Response
		change    func(*fixture, *rule.Grant)
		want      want
	}
	run(t, map[string]test{
		"password and code": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin)},
			validates: []*http.Response{minted("new", 300, 0)},
			want: want{outcome: mfa.Approved, passwords: []string{"pw"},
				asked: []string{"password auth/stepup/login/alice 1/3 ", "passcode corp 1/3 "}},
		},
		"wrong password, then wrong code": {
			answers:   []string{"bad", "pw", "000000", "111111"},
			logins:    []*http.Response{answer(400, wrongLogin), answer(200, heldLogin)},
			validates: []*http.Response{answer(403, wrongText), minted("new", 300, 0)},
			want: want{outcome: mfa.Approved, passwords: []string{"bad", "pw"},
				asked: []string{
					"password auth/stepup/login/alice 1/3 ", "password auth/stepup/login/alice 2/3 wrong password (invalid username or password)",
					"passcode corp 1/3 ", "passcode corp 2/3 " + wrongCode,
				}},
		},
		"no second factor asked": {
			answers: []string{"pw"}, logins: []*http.Response{minted("new", 300, 0)},
			want: want{outcome: mfa.Approved, passwords: []string{"pw"}},
		},
		"password from the keyring": {
			answers: []string{"111111"}, logins: []*http.Response{answer(200, heldLogin)},
			validates: []*http.Response{minted("new", 300, 0)},
			change:    func(f *fixture, g *rule.Grant) { g.Password, f.secrets.password = "keyring", "kept" },
			want:      want{outcome: mfa.Approved, passwords: []string{"kept"}},
		},
		"typed password is kept": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin)},
			validates: []*http.Response{minted("new", 300, 0)},
			change:    func(_ *fixture, g *rule.Grant) { g.Password = "keyring" },
			want:      want{outcome: mfa.Approved, passwords: []string{"pw"}, kept: []string{"pw"}},
		},
		"kept password is wrong": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(400, wrongLogin), answer(200, heldLogin)},
			validates: []*http.Response{minted("new", 300, 0)},
			change:    func(f *fixture, g *rule.Grant) { g.Password, f.secrets.password = "keyring", "old" },
			want:      want{outcome: mfa.Approved, passwords: []string{"old", "pw"}, kept: []string{"", "pw"}},
		},
		"password of a command is wrong": {
			logins: []*http.Response{answer(400, wrongLogin)},
			change: func(f *fixture, g *rule.Grant) {
				g.Password, g.PasswordCommand, f.secrets.password = "", []string{"pass"}, "cmd"
			},
			want: want{outcome: mfa.Rejected, text: "invalid username or password", passwords: []string{"cmd"}},
		},
		"a locked user, or no such mount": {
			answers: []string{"pw", "pw"}, logins: []*http.Response{answer(403, bareDenied)},
			want: want{outcome: mfa.Unavailable, text: "permission denied (a wrong password is answered otherwise: either five wrong ones have locked the user for 15 minutes", passwords: []string{"pw"}},
		},
		"a locked user, kept password": {
			logins: []*http.Response{answer(403, bareDenied)},
			change: func(f *fixture, g *rule.Grant) { g.Password, f.secrets.password = "keyring", "kept" },
			want:   want{outcome: mfa.Unavailable, text: "locked the user for 15 minutes", passwords: []string{"kept"}},
		},
		"a locked user, password of a command": {
			logins: []*http.Response{answer(403, bareDenied)},
			change: func(f *fixture, g *rule.Grant) {
				g.Password, g.PasswordCommand, f.secrets.password = "", []string{"pass"}, "cmd"
			},
			want: want{outcome: mfa.Unavailable, text: "locked the user for 15 minutes", passwords: []string{"cmd"}},
		},
		"the leader changes during the question": {
			answers: []string{"pw", "111111"},
			logins: []*http.Response{
				answer(200, heldLogin), answer(500, noLeader), answer(502, "<html>"), answer(200, strings.Replace(heldLogin, `"r"`, `"r2"`, 1)),
			},
			validates: []*http.Response{answer(500, noLeader), minted("new", 300, 0)},
			want: want{outcome: mfa.Approved, passwords: []string{"pw", "pw", "pw", "pw"}, validated: []string{"m1:[111111]", "m1:[111111]"},
				asked: []string{"password auth/stepup/login/alice 1/3 ", "passcode corp 1/3 "}},
		},
		"the new leader knows the login no more": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin), answer(200, heldLogin)},
			validates: []*http.Response{answer(400, unknownText), answer(400, unknownText), answer(400, unknownText), answer(400, unknownText), minted("new", 300, 0)},
			want: want{outcome: mfa.Approved, passwords: []string{"pw", "pw"},
				asked: []string{"password auth/stepup/login/alice 1/3 ", "passcode corp 1/3 "}},
		},
		"the new leader refuses the code": {
			answers: []string{"pw", "111111", "222222"}, logins: []*http.Response{answer(200, heldLogin), answer(200, heldLogin)},
			validates: []*http.Response{answer(500, noLeader), answer(403, wrongText), minted("new", 300, 0)},
			want: want{outcome: mfa.Approved, passwords: []string{"pw", "pw"},
				asked: []string{"password auth/stepup/login/alice 1/3 ", "passcode corp 1/3 ", "passcode corp 2/3 " + wrongCode}},
		},
		"the new login wants another method": {
			answers: []string{"pw", "111111"}, logins: []*http.Response{answer(200, heldLogin), answer(200, heldBy(heldSecond))},
			validates: []*http.Response{answer(500, noLeader)},
			want:      want{outcome: mfa.Unavailable, text: "the active vault server changes", passwords: []string{"pw", "pw"}},
		},
		"no leader comes back": {
			answers: []string{"pw", "111111"}, logins: append([]*http.Response{answer(200, heldLogin)}, manyNoLeader()...),
			validates: []*http.Response{answer(500, noLeader)},
			want:      want{outcome: mfa.Unavailable, text: "the active vault server changes", passwords: slices.Repeat([]string{"pw"}, 33)},
		},
		"passwords used up": {
			answers: []string{"a", "b", "c"},
			logins:  []*http.Response{answer(400, wrongLogin), answer(400, wrongLogin), answer(400, wrongLogin)},
			want:    want{outcome: mfa.Rejected, text: "did not accept the password", passwords: []string{"a", "b", "c"}},
		},
		"no such path":     {answers: []string{"pw"}, logins: []*http.Response{answer(404, `{"errors":["no handler"]}`)}, want: want{outcome: mfa.Unavailable, text: "no handler", passwords: []string{"pw"}}},
		"password denied":  {answers: []string{"no"}, want: want{outcome: mfa.Denied}},
		"code denied":      {answers: []string{"pw", "no"}, logins: []*http.Response{answer(200, heldLogin)}, want: want{outcome: mfa.Denied, passwords: []string{"pw"}}},
		"broken challenge": {answers: []string{"pw"}, logins: []*http.Response{answer(200, heldLogin[:99])}, want: want{outcome: mfa.Unavailable, text: "without a token", passwords: []string{"pw"}}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.codes(tt.answers...)
		m := secure()
		if tt.change != nil {
			tt.change(f, &m.Rule.Grant)
		}
		f.vault.login, f.vault.validate, f.up.right = inOrder(tt.logins...), inOrder(tt.validates...), "token new"
		f.request(t.Context(), m).check(t, tt.want)
		equal(t, "passwords", tt.want.passwords, f.vault.passwords)
		equal(t, "kept", tt.want.kept, f.secrets.kept)
	})
}

// manyNoLeader are the answers of a cluster that finds none.
func manyNoLeader() (all []*http.Response) {
	for range 32 {
		all = append(all, answer(500, noLeader))
	}
	return all
}

// heldBy is a held login that any of these methods meets.
func heldBy(methods ...string) string {
	return `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r","mfa_constraints":{"a":{"any":[` + strings.Join(methods, ",") + `]}}}}}`
}

const (
	heldTOTP   = `{"type":"totp","id":"m1","uses_passcode":true,"name":"totp"}`
	heldSecond = `{"type":"totp","id":"m2","uses_passcode":true,"name":"second"}`
	heldPhone  = `{"type":"okta","id":"m3","uses_passcode":false,"name":"okta"}`
	heldNew    = `{"type":"totp","id":"m1","uses_passcode":true,"name":"totp","self_enrollment_enabled":true}`

	askedBoth  = "password auth/stepup/login/alice 1/3 "
	askedAgain = "password auth/stepup/login/alice 2/3 wrong password (invalid username or password)"
)

// withCode is secure with methods, whose code may come with the password.
func withCode(methods ...string) rule.Match {
	m := secure()
	m.Rule.Methods = methods
	return m
}

// logsIn makes a Vault that takes the password "pw" and any code but 000000.
func (f *fixture) logsIn(held string) {
	f.up.right = "token new"
	f.vault.login = func(_ context.Context, password string) (*http.Response, error) {
		switch {
		case password != "pw":
			return answer(400, wrongLogin), nil
		case held == "":
			return minted("new", 300, 0), nil
		}
		return answer(200, held), nil
	}
	f.vault.validate = func(_ context.Context, payload string) (*http.Response, error) {
		if strings.Contains(payload, "[000000]") {
			return answer(403, wrongText), nil
		}
		return minted("new", 300, 0), nil
	}
}

func TestLoginGrantWithCode(t *testing.T) {
	codes := func(method string, all ...string) (payloads []string) {
		for _, code := range all {
			payloads = append(payloads, method+":["+code+"]")
		}
		return payloads
	}
	type test struct {
		methods []string
		held    string
		answers []string // to prompts, in order
		want    want
	}
	run(t, map[string]test{
		"both at once": {
			held: heldBy(heldTOTP), answers: []string{"pw\n111111"},
			want: want{asked: []string{askedBoth}, validated: codes("m1", "111111")},
		},
		"the method is named by its id": {
			methods: []string{"m2"}, held: heldBy(heldSecond), answers: []string{"pw\n111111"},
			want: want{asked: []string{askedBoth}, validated: codes("m2", "111111")},
		},
		"wrong password: the code was not sent": {
			held: heldBy(heldTOTP), answers: []string{"bad\n111111", "pw\n111111"},
			want: want{asked: []string{askedBoth, askedAgain}, validated: codes("m1", "111111"),
				passwords: []string{"bad", "pw"}},
		},
		"wrong password: the next answer has no code": {
			held: heldBy(heldTOTP), answers: []string{"bad\n000000", "pw", "111111"},
			want: want{asked: []string{askedBoth, askedAgain, "passcode totp 1/3 "}, validated: codes("m1", "111111"),
				passwords: []string{"bad", "pw"}},
		},
		"wrong code": {
			held: heldBy(heldTOTP), answers: []string{"pw\n000000", "111111"},
			want: want{asked: []string{askedBoth, "passcode totp 2/3 " + wrongCode},
				validated: codes("m1", "000000", "111111")},
		},
		"no code of that method": {
			held: heldBy(heldTOTP), answers: []string{"pw\n1111", "111111"},
			want: want{asked: []string{askedBoth, "passcode totp 1/3 a code of this method has 6 digits"},
				validated: codes("m1", "111111")},
		},
		"password alone": {
			held: heldBy(heldTOTP), answers: []string{"pw", "111111"},
			want: want{asked: []string{askedBoth, "passcode totp 1/3 "}, validated: codes("m1", "111111")},
		},
		"vault wants another method": {
			held: heldBy(heldSecond), answers: []string{"pw\n222222", "111111"},
			want: want{asked: []string{askedBoth, "passcode second 1/3 "}, validated: codes("m2", "111111")},
		},
		"vault wants a push": {
			held:    heldBy(`{"type":"okta","id":"m1","uses_passcode":false,"name":"totp"}`),
			answers: []string{"pw\n222222"}, want: want{asked: []string{askedBoth}, validated: codes("m1", "")},
		},
		"vault wants no factor": {held: "", answers: []string{"pw\n111111"}, want: want{asked: []string{askedBoth}}},
		"the code decides between two": {
			held: heldBy(heldSecond, heldTOTP), answers: []string{"pw\n111111"},
			want: want{asked: []string{askedBoth}, validated: codes("m1", "111111")},
		},
		"no push is sent beside it": {
			held: heldBy(heldTOTP, heldPhone), answers: []string{"pw\n111111"},
			want: want{asked: []string{askedBoth}, validated: codes("m1", "111111")},
		},
		"no authenticator yet": {
			held: heldBy(heldNew), answers: []string{"pw\n222222", "yes", "111111"},
			want: want{asked: []string{
				askedBoth,
				"confirm totp 1/3 vault has no secret of yours for this method yet, and offers to set one up: have an authenticator at hand",
				"passcode totp 1/3 ",
			},
				validated: codes("m1", "111111")},
		},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, func(c *stepup.Config) { c.Methods["m2"] = mfa.Method{Type: "totp", Name: "m2", UsesPasscode: true} })
		f.person.codes(tt.answers...)
		f.logsIn(tt.held)
		methods := tt.methods
		if methods == nil {
			methods = []string{"totp"}
		}
		r := f.request(t.Context(), withCode(methods...))
		synctest.Wait()
		tt.want.outcome = mfa.Approved
		r.check(t, tt.want)
		equal(t, "validated", tt.want.validated, f.vault.validated)
	})
}

// The audit log has one prompt, and the factor with the approval. The keyring keeps the
// password, and nothing of the code.
func TestLoginGrantWithCodeAuditedAndKept(t *testing.T) {
	run(t, map[string]string{"prompt": "prompt", "keyring": "keyring"}, func(t *testing.T, from string) {
		f := newFixture(t, nil)
		f.person.codes("pw\n111111")
		f.logsIn(heldBy(heldTOTP))
		m := withCode("totp")
		m.Rule.Grant.Password = from
		f.request(t.Context(), m).check(t, want{
			outcome: mfa.Approved, audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved},
			kept: map[string][]string{"prompt": nothing, "keyring": {"pw"}}[from],
		})
		equal(t, "method of the approval", "totp", f.audit.last.Method)
	})
}

// A code that came with a password is sent once: the next step-up asks for another one.
func TestLoginGrantCodeIsSentOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("pw\n111111", "pw\n111111", "222222")
		f.logsIn(heldBy(heldTOTP))
		f.stepUp(t.Context(), withCode("totp")).check(t, want{outcome: mfa.Approved})
		f.stepUpOf(t.Context(), withCode("totp"), "other").check(t, want{
			outcome: mfa.Approved, validated: []string{"m1:[111111]", "m1:[222222]"},
			asked: []string{askedBoth, askedBoth, "passcode totp 1/3 that code was sent already: wait for the next one"},
		})
	})
}

// A code is offered only where it is certain that one is typed.
func TestLoginGrantOffersTheCode(t *testing.T) {
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
		f := newFixture(t, tt.change)
		f.person.codes("no")
		f.logsIn("")
		f.request(t.Context(), withCode(tt.methods...)).check(t, want{outcome: mfa.Denied})
		if asked := f.person.asked; len(asked) != 1 || asked[0].WithCode != tt.want {
			t.Errorf("asked %+v, want it to offer %+v", asked, tt.want)
		}
	})
}

// A kept seed is used only after the person said yes, and never twice in a period.
func TestCodeFromSeed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(func(c *stepup.Config) { c.FromSeed = map[string]bool{"totp": true} })
		f.secrets.codes = []secret.Secret{"111111", "222222"}
		f.person.codes("yes", "yes", "no")
		for _, code := range []string{"totp:111111", "totp:222222"} {
			f.up.right = code
			f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Approved})
		}
		equal(t, "sent", []string{"totp:111111", "totp:222222"}, f.up.lines())
		if got := f.person.messages(); len(got) != 2 || !strings.HasPrefix(got[0], "confirm totp") {
			t.Errorf("asked %v", got)
		}
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Denied}) // without a yes
	})
}

// A command may print the code. A person is asked where it does not, or where the code is wrong.
func TestPasscodeCommand(t *testing.T) {
	type test struct {
		printed secret.Secret
		failure error
		codes   []string
		right   string
		want    want
	}
	run(t, map[string]test{
		"right":             {printed: "111 111\n", right: "totp:111111", want: want{sent: []string{"totp:111111"}}},
		"wrong, then asked": {printed: "111111", right: "totp:222222", codes: []string{"222222"}, want: want{sent: []string{"totp:111111", "totp:222222"}, asked: []string{"passcode totp 2/3 " + wrongCode}}},
		"fails":             {failure: errors.New("no device"), right: "totp:222222", codes: []string{"222222"}, want: want{sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 'ykman' did not give a code of totp (no device): type it"}}},
		"prints a sentence": {printed: "touch your key", right: "totp:222222", codes: []string{"222222"}, want: want{sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 'ykman' printed something else than a code: type one"}}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, func(c *stepup.Config) { c.Commands = map[string][]string{"totp": {"ykman"}} })
		f.secrets.printed, f.secrets.err, f.up.right = tt.printed, tt.failure, tt.right
		f.person.codes(tt.codes...)
		tt.want.outcome = mfa.Approved
		f.stepUp(t.Context(), prod("totp")).check(t, tt.want)
		equal(t, "asked", tt.want.asked, f.person.messages())
		equal(t, "end of the audit log", [2]string{string(audit.Approved), "totp"}, [2]string{string(f.audit.last.Event), f.audit.last.Method})
	})
}

// Blanks are no code. For a method that may push they would be a push that no notice tells of.
func TestPasscodeCommandPrintsBlanks(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(func(c *stepup.Config) { c.Commands = map[string][]string{"duo": {"ykman"}} })
		f.secrets.printed, f.up.right = " \n", "duo:passcode=222222"
		f.person.codes("222222")
		f.first(t.Context(), prod("duo")).check(t, want{
			outcome: mfa.Approved, sent: []string{"duo:passcode=222222"}, asked: []string{"passcode duo 1/3 'ykman' printed something else than a code: type one; " + codeOrPush},
		})
	})
}
