package stepup_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	codeOrPush = "type a code, or the word push to get a push on your phone"
	sendPush   = "send a push to your phone (okta)?"
)

// What a rule can push is asked about before anything is sent.
func TestAskedBeforeTheFirstTry(t *testing.T) {
	t.Parallel()
	quiet := prod("okta")
	quiet.Rule = &rule.Rule{Name: "prod", Methods: []string{"okta"}, Grant: quiet.Rule.Grant, Silent: true}
	type test struct {
		match   rule.Match
		confirm bool
		codes   []string
		right   string
		delay   time.Duration
		change  func(*fixture)
		outcome mfa.Outcome
		text    string
		sent    []string
		asked   []string
		status  int
	}
	tests := map[string]test{
		"confirmed push": {
			match: prod("okta"), confirm: true, codes: []string{"yes"}, right: "", delay: 5 * time.Second, outcome: mfa.Approved, status: 200,
			sent: []string{""}, asked: []string{"confirm okta 1/3 " + sendPush, "push okta 1/3 "},
		},
		"no push wanted": {
			match: prod("okta"), confirm: true, codes: []string{"no"}, outcome: mfa.Denied, text: "was denied",
			asked: []string{"confirm okta 1/3 " + sendPush},
		},
		"nobody says": {match: prod("okta"), confirm: true, codes: []string{"never"}, outcome: mfa.Timeout, text: "nobody answered"},
		"the rule never asks, so nothing is pushed": {
			match: quiet, confirm: true, outcome: mfa.Unavailable, text: "never prompts",
		},
		"no way to ask, so nothing is pushed": {
			match: prod("okta"), confirm: true, outcome: mfa.Unavailable, text: "stepup attach",
			change: func(s *fixture) { s.broker.Reconfigure(prompt.BrokerConfig{}) },
		},
		"a token that may not do it is Vault's to refuse": {
			match: prod("okta"), confirm: true, right: "-", sent: []string{""}, status: 403,
			change: func(s *fixture) { s.vault.capabilities = []string{"list"} },
		},
		"a dead token is Vault's to refuse": {
			match: prod("okta"), confirm: true, right: "-", sent: []string{""}, status: 403,
			change: func(s *fixture) { s.vault.probeErr, s.vault.callerDead = dead(), true },
		},
		"a live token without the default policy": {
			match: prod("okta"), confirm: true, codes: []string{"no"}, outcome: mfa.Denied, text: "was denied",
			change: func(s *fixture) { s.vault.probeErr = dead() },
		},
		"Vault cannot be asked, so nobody is": {
			match: prod("okta"), confirm: true, outcome: mfa.Unavailable, text: "capabilities-self: connection refused",
			change: func(s *fixture) { s.vault.probeErr = errors.New("connection refused") },
		},
		"a code goes together with a push": {
			match: prod("totp", "okta"), codes: []string{"111111"}, right: "totp:111111,okta", delay: 5 * time.Second, outcome: mfa.Approved, status: 200,
			sent: []string{"totp:111111,okta"}, asked: []string{"passcode totp 1/3 ", "push okta 1/3 "},
		},
		"and both are asked about": {
			match: prod("totp", "okta"), confirm: true, codes: []string{"yes", "111111"}, right: "totp:111111,okta", outcome: mfa.Approved, status: 200,
			sent: []string{"totp:111111,okta"}, asked: []string{"confirm okta 1/3 " + sendPush, "passcode totp 1/3 "},
		},
		"a wrong code before the push": {
			match: prod("totp", "okta"), codes: []string{"111111", "222222"}, right: "totp:222222,okta", outcome: mfa.Approved, status: 200,
			sent: []string{"totp:111111,okta", "totp:222222,okta"},
		},
		"Duo, a code": {
			match: prod("duo"), codes: []string{"1234567"}, right: "duo:passcode=1234567", outcome: mfa.Approved, status: 200,
			sent: []string{"duo:passcode=1234567"}, asked: []string{"passcode duo 1/3 " + codeOrPush},
		},
		"Duo, the push": {
			match: prod("duo"), codes: []string{"Push"}, right: "duo", delay: 20 * time.Second, outcome: mfa.Approved, status: 200,
			sent: []string{"duo"}, asked: []string{"passcode duo 1/3 " + codeOrPush, "push duo 1/3 "},
		},
		"Duo, the push was chosen: no other question": {
			match: prod("duo"), confirm: true, codes: []string{"push"}, right: "duo", outcome: mfa.Approved, status: 200,
			sent: []string{"duo"}, asked: []string{"passcode duo 1/3 " + codeOrPush},
		},
		"Duo, a wrong code, then the push": {
			match: prod("duo"), codes: []string{"000000", "push"}, right: "duo", outcome: mfa.Approved, status: 200,
			sent: []string{"duo:passcode=000000", "duo"},
			asked: []string{
				"passcode duo 1/3 " + codeOrPush,
				"passcode duo 2/3 wrong code, or one that was used: type another one, or the word push to get a push on your phone",
			},
		},
		"Duo, a used code is not sent again": {
			match: prod("duo"), codes: []string{"000000", "000000", "push"}, right: "duo", outcome: mfa.Approved, status: 200,
			sent: []string{"duo:passcode=000000", "duo"},
		},
		"Duo, the push refused after a while": {
			match: prod("duo"), codes: []string{"push"}, right: "-", delay: 9 * time.Second, outcome: mfa.Denied, text: "refused on the phone", status: 403,
			sent: []string{"duo"},
		},
		"Duo, the push refused at once": {
			match: prod("duo"), codes: []string{"push"}, right: "-", outcome: mfa.Denied, text: "refused on the phone", status: 403,
			sent: []string{"duo"},
		},
		"Duo, denied": {match: prod("duo"), codes: []string{"no"}, outcome: mfa.Denied, text: "was denied"},
		"Duo and a code of another method": {
			match: prod("duo", "totp"), codes: []string{"push", "111111"}, right: "duo,totp:111111", delay: 5 * time.Second, outcome: mfa.Approved, status: 200,
			sent: []string{"duo,totp:111111"}, asked: []string{"passcode duo 1/3 " + codeOrPush, "passcode totp 1/3 ", "push duo 1/3 "},
		},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, func(c *stepup.Config) { c.ConfirmPush = tt.confirm })
		s.person.codes(tt.codes...)
		if tt.change != nil {
			tt.change(s)
		}
		up := &sending{right: tt.right, delay: tt.delay}
		resp, v, err := s.resolver.First(t.Context(), tt.match, "tok", up.send)
		if err != nil || v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict %+v, %v, want %s %q", v, err, tt.outcome, tt.text)
		}
		if resp == nil && tt.status != 0 || resp != nil && resp.StatusCode != tt.status {
			t.Errorf("answer %+v, want %d", resp, tt.status)
		}
		if d := cmp.Diff(tt.sent, up.lines); d != "" {
			t.Errorf("sent: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
	})
}

// A no to a push is a no: with a cool-down, and without a word to Vault.
func TestNoToAPushCoolsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, func(c *stepup.Config) { c.ConfirmPush = true })
		s.person.codes("no")
		up := &sending{}
		for _, want := range []mfa.Outcome{mfa.Denied, mfa.Cooldown} {
			if _, v, err := s.resolver.First(t.Context(), prod("okta"), "tok", up.send); err != nil || v.Outcome != want {
				t.Errorf("verdict %+v, %v, want %s", v, err, want)
			}
		}
		if len(up.lines) != 0 || len(s.person.messages()) != 1 {
			t.Errorf("sent %d times, asked %v", len(up.lines), s.person.messages())
		}
		if d := cmp.Diff([]audit.Event{audit.Challenge, audit.Prompt, audit.Denied}, s.audit.events); d != "" {
			t.Error(d)
		}
	})
}

// What ends the wait for a phone, and is neither the person's word nor Vault's.
func TestFirstTryGoesWrong(t *testing.T) {
	t.Parallel()
	const page = "<html><h1>504 Gateway Time-out</h1></html>"
	duo := `{"errors":["1 error occurred:\n\t* failed to perform Duo preauth: Post \"https://api-1.duosecurity.com/auth/v2/preauth\": dial tcp: i/o timeout\n\n"]}`
	backend := `{"errors":["1 error occurred:\n\t* dial tcp 10.0.0.7:5432: connect: connection refused\n\n"]}`
	type test struct {
		method  string
		status  int
		body    string
		err     error
		delay   time.Duration
		outcome mfa.Outcome
		text    string
		cools   bool
	}
	tests := map[string]test{
		"a load balancer cuts":              {"okta", 504, page, nil, time.Minute, mfa.Timeout, "load balancer", true},
		"one that says 502":                 {"okta", 502, "", nil, time.Minute, mfa.Timeout, "load balancer", true},
		"a connection that breaks":          {"okta", 0, "", errors.New("EOF"), time.Minute, "", "", true},
		"one that breaks at once":           {"okta", 0, "", errors.New("EOF"), time.Millisecond, "", "", false},
		"a gateway that is down":            {"okta", 502, page, nil, time.Millisecond, "", "", false},
		"Vault is sealed meanwhile":         {"okta", 503, `{"errors":["Vault is sealed"]}`, nil, time.Minute, "", "", false},
		"the provider is down":              {"okta", 403, duo, nil, 30 * time.Second, mfa.Unavailable, "api-1.duosecurity.com", false},
		"the provider is down, as a 500":    {"okta", 500, duo, nil, 30 * time.Second, mfa.Unavailable, "second factor", false},
		"the provider is down, code method": {"totp", 400, duo, nil, time.Second, mfa.Unavailable, "second factor", false},
		"a database is down":                {"okta", 500, backend, nil, 30 * time.Second, "", "", false},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		sent := 0
		send := func(context.Context, []mfa.Credential, cache.Token) (*http.Response, error) {
			sent++
			time.Sleep(tt.delay)
			if tt.err != nil {
				return nil, tt.err
			}
			return answer(tt.status, tt.body), nil
		}
		resp, v, err := s.resolver.First(t.Context(), prod(tt.method), "tok", send)
		if !errors.Is(err, tt.err) || v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict %+v, %v, want %s %q", v, err, tt.outcome, tt.text)
		}
		if resp != nil {
			if body, _ := io.ReadAll(resp.Body); string(body) != tt.body || resp.StatusCode != tt.status {
				t.Errorf("answer %d %q", resp.StatusCode, body)
			}
		}
		_, v, _ = s.resolver.First(t.Context(), prod(tt.method), "tok", send)
		if cooled := v.Outcome == mfa.Cooldown; cooled != tt.cools || cooled && (sent != 1 || !strings.Contains(v.Message, "load balancer")) {
			t.Errorf("then %+v after %d sendings, want a cool-down: %v", v, sent, tt.cools)
		}
	})
}
