package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/prompt"
)

// The person is asked about what a rule can push before anything is sent.
func TestAskedBeforeTheFirstTry(t *testing.T) {
	silent := prod("okta")
	silent.Rule.Silent = true
	run(t, map[string]test{
		"confirmed push": {
			match: prod("okta"), config: confirmPush, codes: []string{"yes"}, right: "", delay: 5 * time.Second,
			want: want{outcome: mfa.Approved, status: 200, sent: []string{""},
				asked: []string{"confirm okta 1/3 " + sendPush, "push okta 1/3 "}},
		},
		"no push wanted": {
			match: prod("okta"), config: confirmPush, codes: []string{"no"},
			want: want{outcome: mfa.Denied, text: "was denied", asked: []string{"confirm okta 1/3 " + sendPush}},
		},
		"no answer": {match: prod("okta"), config: confirmPush, codes: []string{"never"}, want: want{outcome: mfa.Timeout, text: "nobody answered"}},
		"the rule never asks, so nothing is pushed": {
			match: silent, config: confirmPush, want: want{outcome: mfa.Unavailable, text: "never asks"},
		},
		"no way to ask, so nothing is pushed": {
			match: prod("okta"), config: confirmPush,
			change: func(f *fixture) { f.broker.Reconfigure(prompt.BrokerConfig{}) },
			want:   want{outcome: mfa.Unavailable, text: "stepup attach", noPrompt: true},
		},
		"a token that may not do it is Vault's to refuse": {
			match: prod("okta"), config: confirmPush, right: "-",
			change: func(f *fixture) { f.vault.capabilities = []string{"list"} },
			want:   want{sent: []string{""}, status: 403},
		},
		"a dead token is Vault's to refuse": {
			match: prod("okta"), config: confirmPush, right: "-",
			change: func(f *fixture) { f.vault.probeErr, f.vault.callerDead = dead(), true },
			want:   want{sent: []string{""}, status: 403},
		},
		"a live token without the default policy": {
			match: prod("okta"), config: confirmPush, codes: []string{"no"},
			change: func(f *fixture) { f.vault.probeErr = dead() }, want: want{outcome: mfa.Denied, text: "was denied"},
		},
		"Vault cannot be asked, so there is no prompt": {
			match: prod("okta"), config: confirmPush,
			change: func(f *fixture) { f.vault.probeErr = errors.New("connection refused") },
			want:   want{outcome: mfa.Unavailable, text: "capabilities-self: connection refused"},
		},
		"a code goes together with a push": {
			match: prod("totp", "okta"), codes: []string{"111111"}, right: "totp:111111,okta", delay: 5 * time.Second,
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"totp:111111,okta"},
				asked: []string{"passcode totp 1/3 ", "push okta 1/3 "}},
		},
		"and both are asked about": {
			match: prod("totp", "okta"), config: confirmPush, codes: []string{"yes", "111111"}, right: "totp:111111,okta",
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"totp:111111,okta"},
				asked: []string{"confirm okta 1/3 " + sendPush, "passcode totp 1/3 "}},
		},
		"a wrong code before the push": {
			match: prod("totp", "okta"), codes: []string{"111111", "222222"}, right: "totp:222222,okta",
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"totp:111111,okta", "totp:222222,okta"}},
		},
		"Duo, a code": {
			match: prod("duo"), codes: []string{"1234567"}, right: "duo:passcode=1234567",
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"duo:passcode=1234567"},
				asked: []string{"passcode duo 1/3 " + codeOrPush}},
		},
		"Duo, the push": {
			match: prod("duo"), codes: []string{"Push"}, right: "duo", delay: 20 * time.Second,
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"duo"},
				asked: []string{"passcode duo 1/3 " + codeOrPush, "push duo 1/3 "}},
		},
		"Duo, the push was chosen: no other question": {
			match: prod("duo"), config: confirmPush, codes: []string{"push"}, right: "duo",
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"duo"},
				asked: []string{"passcode duo 1/3 " + codeOrPush}},
		},
		"Duo, a wrong code, then the push": {
			match: prod("duo"), codes: []string{"000000", "push"}, right: "duo",
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"duo:passcode=000000", "duo"},
				asked: []string{
					"passcode duo 1/3 " + codeOrPush,
					"passcode duo 2/3 " + anotherOrPush,
				}},
		},
		"Duo, a used code is not sent again": {
			match: prod("duo"), codes: []string{"000000", "000000", "push"}, right: "duo",
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"duo:passcode=000000", "duo"}},
		},
		"Duo, the push refused after a while": {
			match: prod("duo"), codes: []string{"push"}, right: "-", delay: 9 * time.Second,
			want: want{outcome: mfa.Denied, text: "refused on the phone", status: 403, sent: []string{"duo"}},
		},
		"Duo, the push refused at once": {
			match: prod("duo"), codes: []string{"push"}, right: "-",
			want: want{outcome: mfa.Denied, text: "refused on the phone", status: 403, sent: []string{"duo"}},
		},
		"Duo, denied": {match: prod("duo"), codes: []string{"no"}, want: want{outcome: mfa.Denied, text: "was denied"}},
		"Duo and a code of another method": {
			match: prod("duo", "totp"), codes: []string{"push", "111111"}, right: "duo,totp:111111",
			delay: 5 * time.Second,
			want: want{outcome: mfa.Approved, status: 200, sent: []string{"duo,totp:111111"},
				asked: []string{"passcode duo 1/3 " + codeOrPush, "passcode totp 1/3 ", "push duo 1/3 "}},
		},
	}, func(t *testing.T, tt test) {
		tt.fixture(t).first(t.Context(), tt.match).check(t, tt.want.strict())
	})
}

// A denied push is a denial: with a cool-down, and without a request to Vault.
func TestDeniedPushStartsTheCooldown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(confirmPush)
		f.person.codes("no")
		f.first(t.Context(), prod("okta")).check(t, want{outcome: mfa.Denied})
		f.first(t.Context(), prod("okta")).check(t, want{
			outcome: mfa.Cooldown, sent: nothing, asked: []string{"confirm okta 1/3 " + sendPush},
			audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Denied},
		})
	})
}

// The wait for a push may end by something that is neither the person's answer nor Vault's.
func TestFirstTryGoesWrong(t *testing.T) {
	const page = "<html><h1>504 Gateway Time-out</h1></html>"
	duo := `{"errors":["1 error occurred:\n\t* failed to perform Duo preauth: Post \"https://api-1.duosecurity.com/auth/v2/preauth\": dial tcp: i/o timeout\n\n"]}`
	backend := `{"errors":["1 error occurred:\n\t* dial tcp 10.0.0.7:5432: connect: connection refused\n\n"]}`
	eof := errors.New("EOF")
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
	run(t, map[string]test{
		"a load balancer drops it":          {"okta", 504, page, nil, time.Minute, mfa.Timeout, "load balancer", true},
		"one that says 502":                 {"okta", 502, "", nil, time.Minute, mfa.Timeout, "load balancer", true},
		"a connection that breaks":          {"okta", 0, "", eof, time.Minute, "", "", true},
		"one that breaks during the push":   {"okta", 0, "", eof, 5 * time.Second, "", "", true},
		"one that breaks at once":           {"okta", 0, "", errors.New("EOF"), time.Millisecond, "", "", false},
		"a gateway that is down":            {"okta", 502, page, nil, time.Millisecond, "", "", false},
		"Vault is sealed meanwhile":         {"okta", 503, sealedText, nil, time.Minute, "", "", false},
		"the provider is down":              {"okta", 403, duo, nil, 30 * time.Second, mfa.Unavailable, "api-1.duosecurity.com", false},
		"the provider is down, as a 500":    {"okta", 500, duo, nil, 30 * time.Second, mfa.Unavailable, "second factor", false},
		"the provider is down, code method": {"totp", 400, duo, nil, time.Second, mfa.Unavailable, "second factor", false},
		"a database is down":                {"okta", 500, backend, nil, 30 * time.Second, "", "", false},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.up.serve = after(tt.delay, func(context.Context, string) (*http.Response, error) {
			if tt.err != nil {
				return nil, tt.err
			}
			return answer(tt.status, tt.body), nil
		})
		r := f.first(t.Context(), prod(tt.method))
		r.check(t, want{outcome: tt.outcome, text: tt.text, err: tt.err, status: tt.status})
		if r.resp != nil {
			equal(t, "body", tt.body, peek(t, r.resp))
		}
		r = f.first(t.Context(), prod(tt.method))
		if cools := r.v.Outcome == mfa.Cooldown; cools != tt.cools {
			t.Errorf("then %+v, want a cool-down: %v", r.v, tt.cools)
		}
		if tt.cools {
			r.check(t, want{outcome: mfa.Cooldown, text: "load balancer", sent: []string{""}})
		}
	})
}

func TestFirst(t *testing.T) {
	notified := []string{"push okta 1/3 "}
	type test struct {
		method  string
		delay   time.Duration
		status  int
		asked   []string
		outcome mfa.Outcome
	}
	run(t, map[string]test{
		"no push method":             {"totp", 10 * time.Millisecond, 403, nothing, ""},
		"a push that is not named":   {"totp", 10 * time.Second, 403, nothing, mfa.Unavailable},
		"a slow answer":              {"totp", 10 * time.Second, 200, nothing, ""},
		"push approved":              {"okta", 10 * time.Second, 200, notified, mfa.Approved},
		"push refused":               {"okta", 10 * time.Second, 403, notified, mfa.Denied},
		"no push was needed":         {"okta", 10 * time.Millisecond, 200, nothing, ""},
		"an ordinary 403":            {"okta", 10 * time.Millisecond, 403, nothing, ""},
		"refused at once":            {"okta", 2 * time.Second, 403, notified, mfa.Denied},
		"slow vault, an error":       {"okta", 10 * time.Second, 500, notified, ""},
		"notified within one second": {"okta", 999 * time.Millisecond, 200, notified, mfa.Approved},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.up.serve = after(tt.delay, always(tt.status, generic))
		f.first(t.Context(), prod(tt.method)).check(t, want{outcome: tt.outcome, status: tt.status, asked: tt.asked})
		equal(t, "open notices", 0, f.broker.Len())
	})
}

func TestSlowOrdinaryDenial(t *testing.T) {
	type test struct {
		method string
		delay  time.Duration
	}
	run(t, map[string]test{"okta": {"okta", 2 * time.Second}, "totp": {"totp", 10 * time.Second}}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.capabilities, f.up.delay = []string{"list"}, tt.delay
		f.first(t.Context(), prod(tt.method)).check(t, want{})
	})
}

// The clock of a push starts when Vault has the request: connecting may take longer than any
// answer.
func TestSlowConnectionIsNoPush(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.serve = after(time.Minute, func(ctx context.Context, _ string) (*http.Response, error) {
			httptrace.ContextClientTrace(ctx).WroteRequest(httptrace.WroteRequestInfo{})
			return answer(403, generic), nil
		})
		f.first(t.Context(), prod("totp")).check(t, want{})
	})
}

// A denial here drops the request at Vault. During the cool-down nothing is sent, because
// sending is what pushes.
func TestPushDeniedHere(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.push = "5s no"
		f.up.delay = time.Minute
		f.first(t.Context(), prod("okta")).check(t, want{outcome: mfa.Denied, status: none})
		f.first(t.Context(), prod("okta")).check(t, want{outcome: mfa.Cooldown, status: none, sent: []string{""}})
	})
}

// A 403 after a long wait is final: no second push is sent for it.
func TestRefusedPushIsNotRepeated(t *testing.T) {
	type test struct {
		methods []string
		step    func(*fixture, context.Context, rule.Match) result
		outcome mfa.Outcome
		sent    string
	}
	run(t, map[string]test{
		"a code together with a push":        {[]string{"totp", "okta"}, (*fixture).first, mfa.Denied, "totp:111111,okta"},
		"a push that the rule does not name": {[]string{"totp"}, (*fixture).stepUp, mfa.Unavailable, "totp:111111"},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.codes("111111", "222222")
		f.up.delay = 10 * time.Second
		tt.step(f, t.Context(), prod(tt.methods...)).check(t, want{outcome: tt.outcome, sent: []string{tt.sent}})
	})
}

// A lock is not a person's answer to this push.
func TestPushIsCancelledByALock(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.delay = time.Minute
		time.AfterFunc(5*time.Second, f.broker.CancelAll)
		f.first(t.Context(), prod("okta")).check(t, want{outcome: mfa.Denied, text: "cancelled by stepup lock"})
	})
}

func TestPushOfAnAppThatLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		ctx, leave := context.WithCancel(t.Context())
		f.up.delay = time.Hour
		time.AfterFunc(5*time.Second, leave)
		f.first(ctx, prod("okta")).check(t, want{
			err: context.Canceled, asked: []string{"push okta 1/3 "}, audited: []audit.Event{audit.Prompt},
		})
		equal(t, "open notices", 0, f.broker.Len())
	})
}

func TestHeaderGrant(t *testing.T) {
	onlyOnce := prod("totp")
	onlyOnce.NoReplay = true
	run(t, map[string]test{
		"right at once": {
			match: prod("totp"), right: "totp:111111", codes: []string{"111111"},
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "},
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved}},
		},
		"wrong, then right": {
			match: prod("totp"), right: "totp:222222", codes: []string{"111111", "222222"},
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111", "totp:222222"},
				asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 " + wrongCode}},
		},
		"always wrong": {
			match: prod("totp"), right: "-", codes: []string{"111111", "222222", "333333"},
			want: want{outcome: mfa.Rejected, text: "did not accept the codes",
				sent:    []string{"totp:111111", "totp:222222", "totp:333333"},
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Prompt, audit.Prompt, audit.Rejected}},
		},
		"the same code is not sent twice": {
			match: prod("totp"), right: "totp:222222", codes: []string{"111111", "111111", "222222"},
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111", "totp:222222"},
				asked: []string{
					"passcode totp 1/3 ", "passcode totp 2/3 " + wrongCode,
					"passcode totp 2/3 that code was sent already: wait for the next one",
				}},
		},
		"wrong length is not sent": {
			match: prod("totp"), right: "totp:222222", codes: []string{"1234", "222222"},
			want: want{outcome: mfa.Approved, sent: []string{"totp:222222"},
				asked: []string{"passcode totp 1/3 ", "passcode totp 1/3 a code of this method has 6 digits"}},
		},
		"all methods of the rule": {
			match: prod("totp", "second"), right: "totp:111111,second:abc", codes: []string{"111111", "abc"},
			want: want{outcome: mfa.Approved, sent: []string{"totp:111111,second:abc"},
				asked: []string{"passcode totp 1/3 ", "passcode second 1/3 "}},
		},
		"code and push: both went first": {match: prod("totp", "okta")},
		"denied": {
			match: prod("totp"), codes: []string{"no"},
			want: want{outcome: mfa.Denied, text: "was denied",
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Denied}},
		},
		"no answer": {
			match: prod("totp"), codes: []string{"never"},
			want: want{outcome: mfa.Timeout, text: "nobody answered",
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Timeout}},
		},
		"not granted anyway": {match: prod("totp"), change: func(f *fixture) { f.vault.capabilities = []string{"list"} }},
		"root":               {match: prod("totp"), change: func(f *fixture) { f.vault.capabilities = []string{"root"} }},
		"probe refused": {
			match: prod("totp"), change: func(f *fixture) { f.vault.probeErr = errors.New("no") },
			want: want{outcome: mfa.Unavailable, text: "capabilities-self: no"},
		},
		"only a push: it was sent already": {match: prod("okta")},
		"sent only once": {
			match: onlyOnce, right: "-", codes: []string{"111111"},
			want: want{outcome: mfa.Rejected, sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "}},
		},
		"sent only once, but a typing error is not sent": {
			match: onlyOnce, right: "totp:222222", codes: []string{"1234", "222222"},
			want: want{outcome: mfa.Approved, sent: []string{"totp:222222"},
				asked: []string{"passcode totp 1/3 ", "passcode totp 1/3 a code of this method has 6 digits"}},
		},
		"no way to ask": {
			match: prod("totp"), change: func(f *fixture) { f.broker.Reconfigure(prompt.BrokerConfig{}) },
			want: want{outcome: mfa.Unavailable, text: "stepup attach", noPrompt: true},
		},
	}, func(t *testing.T, tt test) {
		r := tt.fixture(t).stepUp(t.Context(), tt.match)
		r.check(t, tt.want.exactly())
		if (r.v.Message != "") != (tt.want.text != "" || !r.v.OK()) || (r.resp != nil) != (len(tt.want.sent) > 0) {
			t.Errorf("answer %v, verdict %+v", r.resp, r.v)
		}
	})
}

func TestProbeAsksForWhatTheAppAsked(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("no")
		m := prod("totp")
		m.Request.Namespace, m.Request.Path = "ns1", "sub/kv/data/prod/db"
		f.stepUp(t.Context(), m)
		equal(t, "probed", []string{"tok ns1/sub/kv/data/prod/db"}, f.vault.probed)
	})
}

func denial(policy string) string {
	return `{"errors":["2 errors occurred:\n\t* egp standard policy \"` + policy + `\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\nA trace of the execution for policy \"` + policy + `\" is available:\n\nResult: false\n\t* permission denied\n\n"]}`
}

// policies are Sentinel policies that each want a line of X-Vault-MFA, and look one after the
// other. Each is its name, "" for an ACL, and the line. A refusal has that status.
func policies(status int, wants ...[2]string) serve {
	return func(_ context.Context, line string) (*http.Response, error) {
		for _, w := range wants {
			switch {
			case strings.Contains(","+line+",", ","+w[1]+","):
			case w[0] == "":
				return answer(403, generic), nil
			default:
				return answer(status, denial(w[0])), nil
			}
		}
		return answer(200, "ok"), nil
	}
}

func governedRule(methods ...string) rule.Match {
	m := prod(methods...)
	m.Rule.Sentinel = []rule.Policy{{Name: "root/pay", Methods: []string{"second"}}, {Name: "hr", Methods: []string{"totp", "second"}}}
	return m
}

// governedLogin is a request without a token that the policy pay has denied.
func governedLogin(q rule.Request) rule.Match {
	m := governedRule()
	m.Unauthenticated, m.DeniedBy, m.Request = true, []string{"root/pay"}, q
	return m
}

func TestSentinelGrant(t *testing.T) {
	denied := func(m rule.Match, by ...string) rule.Match {
		m.DeniedBy = by
		return m
	}
	pay := policies(403, [2]string{"root/pay", "second:abc"})
	run(t, map[string]test{
		"a policy that the rule names": {
			match: denied(governedRule("totp"), "root/pay"), serve: pay, codes: []string{"abc"},
			want: want{outcome: mfa.Approved, sent: []string{"second:abc"}, asked: []string{"passcode second 1/3 "}},
		},
		"a wrong code; the trace is in no question": {
			match: denied(governedRule(), "root/pay"), serve: pay, codes: []string{"x", "abc"},
			want: want{outcome: mfa.Approved, sent: []string{"second:x", "second:abc"},
				asked: []string{"passcode second 1/3 ", "passcode second 2/3 " + wrongCode}},
		},
		"wrong to the end": {
			match: denied(governedRule(), "root/pay"), serve: pay, codes: []string{"x", "y", "z"},
			want: want{outcome: mfa.Rejected, text: "did not accept", sent: []string{"second:x", "second:y", "second:z"}},
		},
		"the rule names none, so its methods are meant": {
			match: denied(prod("totp"), "root/pay"), serve: policies(403, [2]string{"root/pay", "totp:111111"}),
			codes: []string{"111111"}, want: want{outcome: mfa.Approved, sent: []string{"totp:111111"}},
		},
		"another policy: Vault decides":      {match: denied(governedRule("totp"), "root/cidr")},
		"one without a name: Vault decides":  {match: denied(governedRule("totp"), "")},
		"no policy, and no methods for that": {match: governedRule()},
		"the ACL wants the rule's methods":   {match: governedRule("totp"), serve: policies(403, [2]string{"", "totp:111111"}), codes: []string{"111111"}, want: want{outcome: mfa.Approved, sent: []string{"totp:111111"}}},
		"after the factor, another policy": {
			match: governedRule("totp"), serve: policies(403, [2]string{"", "totp:111111"}, [2]string{"root/cidr", "-"}),
			codes: []string{"111111"},
			want: want{outcome: mfa.Unavailable,
				text: `a policy that this rule has no methods for: egp standard policy "root/cidr" evaluation resulted in denial`,
				sent: []string{"totp:111111"}},
		},
		"a role's policy denies the probe, too": {
			match: denied(governedRule(), "root/pay"), serve: pay, codes: []string{"abc"},
			change: func(f *fixture) {
				f.vault.probeErr = &vault.StatusError{Status: 403, Errors: mfa.Errors([]byte(denial("root/pay")))}
			},
			want: want{outcome: mfa.Approved, sent: []string{"second:abc"}},
		},
	}, func(t *testing.T, tt test) {
		r := tt.fixture(t).stepUp(t.Context(), tt.match)
		r.check(t, tt.want.exactly())
		if strings.Contains(r.v.Message, "trace") || (r.resp != nil) != (len(tt.want.sent) > 0) {
			t.Errorf("answer %v, verdict %+v", r.resp, r.v)
		}
	})
}

// Vault looks at the ACL first, and then at one policy after the other: each may want a factor
// more, and a code that was sent is not sent again.
func TestOneMoreFactor(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "222222", "abc")
		f.up.serve = inOrder(answer(403, denial("root/pay")), answer(200, "ok"))
		f.stepUp(t.Context(), governedRule("totp")).check(t, want{
			outcome: mfa.Approved, sent: []string{"totp:111111", "totp:222222,second:abc"},
			asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 vault wants one more factor", "passcode second 2/3 vault wants one more factor"},
		})
	})
}

// A login has no token yet: capabilities cannot be asked for, and a denial holds for every
// caller on that path.
func TestSentinelLogin(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.vault.capabilities = []string{"deny"}
		f.up.serve = policies(400, [2]string{"root/pay", "second:abc"})
		for _, tt := range []struct {
			name  string
			codes []string
			want  want
			wait  time.Duration
		}{
			{"alice", []string{"x", "abc"}, want{outcome: mfa.Approved, sent: []string{"second:x", "second:abc"}}, 0},
			{"alice", []string{"no"}, want{outcome: mfa.Denied}, 0},
			{"alice", nil, want{outcome: mfa.Cooldown, sent: []string{"second:x", "second:abc"}}, 4 * time.Minute},
			{"bob", []string{"abc"}, want{outcome: mfa.Approved}, 0},
		} {
			f.person.codes(tt.codes...)
			m := governedLogin(rule.Request{Path: "auth/ldap/login/" + tt.name, Operation: rule.Update})
			f.stepUpOf(t.Context(), m, "").check(t, tt.want)
			time.Sleep(tt.wait)
		}
		equal(t, "probed", 0, len(f.vault.probed))
	})
}

// On a path that needs no token, one that is there must be alive.
func TestSentinelOpenPath(t *testing.T) {
	run(t, map[string]bool{"alive": false, "dead": true}, func(t *testing.T, dead bool) {
		f := newFixture(t, nil)
		f.vault.callerDead = dead
		f.person.codes("abc")
		f.up.serve = policies(400, [2]string{"root/pay", "second:abc"})
		if r := f.stepUp(t.Context(), governedLogin(prod().Request)); (r.v.Outcome == mfa.Approved) == dead {
			t.Errorf("%+v", r.v)
		}
	})
}
