package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

func denial(policy string) string {
	return `{"errors":["2 errors occurred:\n\t* egp standard policy \"` + policy + `\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\nA trace of the execution for policy \"` + policy + `\" is available:\n\nResult: false\n\t* permission denied\n\n"]}`
}

// A governed is a Vault with policies that each want a line of X-Vault-MFA, and
// look one after the other.
type governed struct {
	mu     sync.Mutex
	wants  [][2]string // policy ("" is an ACL) and line
	status int
	lines  []string
}

func (g *governed) send(_ context.Context, credentials []mfa.Credential, _ cache.Token) (*http.Response, error) {
	var lines []string
	for _, c := range credentials {
		lines = append(lines, c.Header())
	}
	line := strings.Join(lines, ",")
	g.mu.Lock()
	g.lines = append(g.lines, line)
	g.mu.Unlock()
	for _, w := range g.wants {
		switch {
		case strings.Contains(","+line+",", ","+w[1]+","):
		case w[0] == "":
			return answer(403, generic), nil
		default:
			return answer(g.status, denial(w[0])), nil
		}
	}
	return answer(200, "ok"), nil
}

func governedRule(methods ...string) rule.Match {
	m := prod(methods...)
	m.Rule.Sentinel = []rule.Policy{{Name: "root/pay", Methods: []string{"second"}}, {Name: "hr", Methods: []string{"totp", "second"}}}
	return m
}

func TestSentinelGrant(t *testing.T) {
	t.Parallel()
	type test struct {
		match   rule.Match
		denied  []string
		wants   [][2]string
		codes   []string
		outcome mfa.Outcome
		text    string
		sent    []string
		asked   []string
		change  func(*fixture)
	}
	tests := map[string]test{
		"a policy that the rule names": {
			match: governedRule("totp"), denied: []string{"root/pay"}, wants: [][2]string{{"root/pay", "second:abc"}},
			codes: []string{"abc"}, outcome: mfa.Approved, sent: []string{"second:abc"}, asked: []string{"passcode second 1/3 "},
		},
		"a wrong code; the trace is in no question": {
			match: governedRule(), denied: []string{"root/pay"}, wants: [][2]string{{"root/pay", "second:abc"}},
			codes: []string{"x", "abc"}, outcome: mfa.Approved, sent: []string{"second:x", "second:abc"},
			asked: []string{"passcode second 1/3 ", "passcode second 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"wrong to the end": {
			match: governedRule(), denied: []string{"root/pay"}, wants: [][2]string{{"root/pay", "second:abc"}},
			codes: []string{"x", "y", "z"}, outcome: mfa.Rejected, text: "did not accept", sent: []string{"second:x", "second:y", "second:z"},
		},
		"the rule names none, so its methods are meant": {
			match: prod("totp"), denied: []string{"root/pay"}, wants: [][2]string{{"root/pay", "totp:111111"}},
			codes: []string{"111111"}, outcome: mfa.Approved, sent: []string{"totp:111111"},
		},
		"another policy is Vault's word":     {match: governedRule("totp"), denied: []string{"root/cidr"}},
		"one without a name is Vault's word": {match: governedRule("totp"), denied: []string{""}},
		"no policy, and no methods for that": {match: governedRule(), denied: nil},
		"the ACL wants the rule's methods":   {match: governedRule("totp"), wants: [][2]string{{"", "totp:111111"}}, codes: []string{"111111"}, outcome: mfa.Approved, sent: []string{"totp:111111"}},
		"after the factor, another policy": {
			match: governedRule("totp"), wants: [][2]string{{"", "totp:111111"}, {"root/cidr", "-"}},
			codes: []string{"111111"}, outcome: mfa.Unavailable, text: `a policy that this rule has no methods for: egp standard policy "root/cidr" evaluation resulted in denial`,
			sent: []string{"totp:111111"},
		},
		"a role's policy denies the probe, too": {
			match: governedRule(), denied: []string{"root/pay"}, wants: [][2]string{{"root/pay", "second:abc"}},
			codes: []string{"abc"}, outcome: mfa.Approved, sent: []string{"second:abc"},
			change: func(s *fixture) {
				s.vault.probeErr = &vault.StatusError{Status: 403, Errors: mfa.Errors([]byte(denial("root/pay")))}
			},
		},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.person.codes(tt.codes...)
		if tt.change != nil {
			tt.change(s)
		}
		g := &governed{wants: tt.wants, status: 403}
		m := tt.match
		m.DeniedBy = tt.denied
		resp, v := s.resolver.StepUp(t.Context(), m, "tok", g.send)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) || strings.Contains(v.Message, "trace") {
			t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if (resp != nil) != (len(tt.sent) > 0) {
			t.Errorf("answer %v", resp)
		}
		if d := cmp.Diff(tt.sent, g.lines); d != "" {
			t.Errorf("sent: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
	})
}

// Vault looks at the ACL first, and then at one policy after the other: each may
// want a factor more, and a code that was sent is not sent again.
func TestOneMoreFactor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222", "abc")
		var lines []string
		send := func(_ context.Context, credentials []mfa.Credential, _ cache.Token) (*http.Response, error) {
			var line []string
			for _, c := range credentials {
				line = append(line, c.Header())
			}
			lines = append(lines, strings.Join(line, ","))
			if len(line) < 2 {
				return answer(403, denial("root/pay")), nil
			}
			return answer(200, "ok"), nil
		}
		_, v := s.resolver.StepUp(t.Context(), governedRule("totp"), "tok", send)
		if d := cmp.Diff([]string{"totp:111111", "totp:222222,second:abc"}, lines); d != "" || v.Outcome != mfa.Approved {
			t.Errorf("%+v %s", v, d)
		}
		want := []string{"passcode totp 1/3 ", "passcode totp 2/3 vault wants one more factor", "passcode second 2/3 vault wants one more factor"}
		if d := cmp.Diff(want, s.person.messages()); d != "" {
			t.Error(d)
		}
	})
}

// Nobody is behind a login yet: capabilities cannot be asked for, and a no holds
// for everybody on that path.
func TestSentinelLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.vault.capabilities = []string{"deny"}
		login := func(path string, codes ...string) (mfa.Verdict, []string) {
			s.person.codes(codes...)
			m := governedRule()
			m.Unauthenticated, m.DeniedBy, m.Request = true, []string{"root/pay"}, rule.Request{Path: path, Operation: rule.Update}
			g := &governed{wants: [][2]string{{"root/pay", "second:abc"}}, status: 400}
			_, v := s.resolver.StepUp(t.Context(), m, "", g.send)
			return v, g.lines
		}
		if v, sent := login("auth/ldap/login/alice", "x", "abc"); v.Outcome != mfa.Approved || len(sent) != 2 || len(s.vault.probed) != 0 {
			t.Errorf("%+v after %v, probed %v", v, sent, s.vault.probed)
		}
		if v, _ := login("auth/ldap/login/alice", "no"); v.Outcome != mfa.Denied {
			t.Errorf("denied: %+v", v)
		}
		if v, sent := login("auth/ldap/login/alice"); v.Outcome != mfa.Cooldown || sent != nil {
			t.Errorf("again: %+v", v)
		}
		time.Sleep(4 * time.Minute)
		if v, _ := login("auth/ldap/login/bob", "abc"); v.Outcome != mfa.Approved {
			t.Errorf("somebody else: %+v", v)
		}
	})
}

// On a path that needs no token, one that is there must be alive.
func TestSentinelOpenPath(t *testing.T) {
	t.Parallel()
	for name, dead := range map[string]bool{"alive": false, "dead": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.vault.callerDead = dead
				s.person.codes("abc")
				m := governedRule()
				m.Unauthenticated, m.DeniedBy = true, []string{"root/pay"}
				g := &governed{wants: [][2]string{{"root/pay", "second:abc"}}, status: 400}
				if _, v := s.resolver.StepUp(t.Context(), m, "tok", g.send); (v.Outcome == mfa.Approved) == dead {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}
