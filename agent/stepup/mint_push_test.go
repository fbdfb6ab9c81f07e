package stepup_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

// A mint that pushes is asked about as a request that pushes is; what Vault says
// after a push is final.
func TestMintThatPushes(t *testing.T) {
	t.Parallel()
	const page = "<html>504</html>"
	type test struct {
		methods []string
		confirm bool
		codes   []string
		right   string
		status  int // of a refusal; 0 means 403
		body    string
		delay   time.Duration
		outcome mfa.Outcome
		text    string
		minted  []string
		asked   []string
	}
	tests := map[string]test{
		"confirmed": {
			methods: []string{"okta"}, confirm: true, codes: []string{"yes"}, right: "okta", delay: 5 * time.Second, outcome: mfa.Approved,
			minted: []string{"okta"}, asked: []string{"confirm okta 1/3 " + sendPush, "push okta 1/3 "},
		},
		"no push wanted": {
			methods: []string{"okta"}, confirm: true, codes: []string{"no"}, outcome: mfa.Denied, text: "was denied",
			asked: []string{"confirm okta 1/3 " + sendPush},
		},
		"Duo, a code": {
			methods: []string{"duo"}, codes: []string{"1234567"}, right: "duo:passcode=1234567", outcome: mfa.Approved,
			minted: []string{"duo:passcode=1234567"}, asked: []string{"passcode duo 1/3 " + codeOrPush},
		},
		"Duo, a wrong code, then the push": {
			methods: []string{"duo"}, codes: []string{"000000", "push"}, right: "duo", outcome: mfa.Approved,
			minted: []string{"duo:passcode=000000", "duo"},
		},
		"Duo, the push refused": {
			methods: []string{"duo"}, codes: []string{"push"}, right: "-", delay: 9 * time.Second, outcome: mfa.Denied, text: "refused on the phone",
			minted: []string{"duo"}, asked: []string{"passcode duo 1/3 " + codeOrPush, "push duo 1/3 "},
		},
		"the push refused at once": {
			methods: []string{"okta"}, right: "-", outcome: mfa.Denied, text: "refused on the phone", minted: []string{"okta"},
		},
		"a load balancer cuts": {
			methods: []string{"okta"}, right: "-", status: 504, body: page, delay: time.Minute, outcome: mfa.Timeout, text: "load balancer",
			minted: []string{"okta"},
		},
		"the provider is down": {
			methods: []string{"okta"}, right: "-", body: `{"errors":["Get \"https://corp.okta.com/\": dial tcp: i/o timeout"]}`, delay: 30 * time.Second,
			outcome: mfa.Unavailable, text: "corp.okta.com", minted: []string{"okta"},
		},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, func(c *stepup.Config) { c.ConfirmPush = tt.confirm })
		s.person.codes(tt.codes...)
		var lines []string
		s.vault.mint = func(ctx context.Context, r vault.MintRequest) (*http.Response, error) {
			var line []string
			for _, c := range r.Credentials {
				line = append(line, c.Header())
			}
			lines = append(lines, strings.Join(line, ","))
			time.Sleep(tt.delay)
			if lines[len(lines)-1] == tt.right {
				return minted("new", 300, 0), nil
			}
			status, body := tt.status, tt.body
			if status == 0 {
				status = 403
			}
			if body == "" {
				body = generic
			}
			return answer(status, body), nil
		}
		m := deploy()
		m.Rule.Methods = tt.methods
		_, v := s.resolver.StepUp(t.Context(), m, "tok", (&sending{right: "token new"}).send)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if d := cmp.Diff(tt.minted, lines); d != "" {
			t.Errorf("minted: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
	})
}

// A connection that breaks while the phone rings is a gateway's word, as its page is:
// no second push follows at once.
func TestConnectionBreaksWhileItPushes(t *testing.T) {
	t.Parallel()
	duo := deploy()
	duo.Rule.Methods = []string{"duo"}
	for name, m := range map[string]rule.Match{"the request": prod("duo"), "a mint": duo} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.person.codes("push")
				rang := 0
				ring := func() (*http.Response, error) {
					rang++
					time.Sleep(time.Minute)
					return nil, io.ErrUnexpectedEOF
				}
				s.vault.mint = func(context.Context, vault.MintRequest) (*http.Response, error) { return ring() }
				send := func(_ context.Context, factors []mfa.Credential, _ cache.Token) (*http.Response, error) {
					if len(factors) > 0 {
						return ring()
					}
					return answer(403, generic), nil
				}
				for _, want := range []mfa.Outcome{mfa.Timeout, mfa.Cooldown} {
					_, v, err := s.resolver.First(t.Context(), m, "tok", send)
					if v.Outcome == "" {
						_, v = s.resolver.StepUp(t.Context(), m, "tok", send)
					}
					if err != nil || v.Outcome != want || !strings.Contains(v.Message, "load balancer") {
						t.Errorf("%+v, %v, want %s", v, err, want)
					}
				}
				if rang != 1 {
					t.Errorf("rang %d times", rang)
				}
			})
		})
	}
}
