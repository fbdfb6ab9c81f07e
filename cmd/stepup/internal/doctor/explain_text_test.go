package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/control"
)

func TestWouldHappen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known := func(e control.Explanation, capabilities ...string) control.Explanation {
		e.Agent, e.Caller, e.Capabilities = true, "1f8e40c2", capabilities
		e.Granted = len(capabilities) > 0 && capabilities[0] == "read"
		return e
	}
	totp := []control.Method{{Name: "corp_totp", Type: "totp", Passcode: true}}
	header := control.Explanation{Rule: "r", Grant: control.Grant{Kind: "header"}, Methods: totp}
	push := control.Explanation{Rule: "r", Grant: control.Grant{Kind: "header"}, Methods: []control.Method{{Name: "phone", Type: "okta"}}}
	token := control.Explanation{Rule: "r", Grant: control.Grant{Kind: "token", Path: "auth/token/create/x"}, Methods: totp}
	group := control.Explanation{
		Rule: "r", Path: "k\x1b/x", KV2Path: "k\x1b/data/x", Mount: &control.Mount{Path: "k\x1b/", Type: "\rkv", Version: "\x1b[2"},
		Grant: control.Grant{ControlGroup: "10m0s", Approvers: "\x1b[31mleads"},
	}
	with := func(e control.Explanation, change func(*control.Explanation)) control.Explanation {
		change(&e)
		return e
	}
	for name, tt := range map[string]struct {
		e    control.Explanation
		want []string
	}{
		"no rule, nothing known": {control.Explanation{}, []string{"it goes to vault, and its answer comes back as it is"}},
		"no rule, granted": {known(control.Explanation{}, "read"), []string{
			"it goes to vault, and its answer comes back as it is",
			"a refusal, although your policies grant it, means that a rule is missing: `stepup status` then has one to paste",
		}},
		"no rule, not granted": {known(control.Explanation{}, "deny"), []string{"it goes to vault, which refuses it: your policies do not grant it"}},
		"root":                 {known(header, "root"), []string{"it goes to vault, which asks root for nothing"}},
		"header": {known(header, "read"), []string{
			"it goes to vault; when that refuses it, you are asked for corp_totp", "the same request goes again, with your codes",
		}},
		"header, not granted": {known(header, "deny"), []string{"it goes to vault, which refuses it: your policies do not grant it, so nobody is asked"}},
		"header, after a no": {known(with(header, func(e *control.Explanation) { e.Paused = "stepup: not asking again yet" }), "read"), []string{
			"it goes to vault; when that refuses it, you are asked for corp_totp", "the same request goes again, with your codes",
			"nobody is asked now: not asking again yet",
		}},
		"push": {known(push, "read"), []string{"it goes to vault, which asks your phone (phone) and lets it wait until you have decided"}},
		"push, with a word before": {known(with(push, func(e *control.Explanation) { e.Grant.AsksFirst = true }), "read"), []string{
			"you are asked whether to push before it is sent", "it goes to vault, which asks your phone (phone) and lets it wait until you have decided",
		}},
		"a code and a push": {known(with(header, func(e *control.Explanation) {
			e.Grant.AsksFirst, e.Methods = true, slices.Concat(push.Methods, totp)
		}), "read"), []string{
			"you are asked for corp_totp before it is sent, because vault pushes at once", "it goes to vault with your codes, and waits while your phone is asked",
		}},
		"login": {known(control.Explanation{Login: true}, "deny"), []string{
			"it goes to vault; where that holds the login for a second factor, you are asked, and the program gets the finished login",
		}},
		"token": {known(token, "deny"), []string{
			"it goes to vault with your own token; when that refuses it, you are asked for corp_totp, and a token is made at auth/token/create/x",
			"it goes again with the new token, which serves later requests, too",
		}},
		"token, eager": {with(token, func(e *control.Explanation) { e.Grant.Eager = true }), []string{
			"you are asked for corp_totp, and a token is made at auth/token/create/x", "it goes to vault with the new token, which serves later requests, too",
		}},
		"token, cached": {known(with(token, func(e *control.Explanation) { e.Cached = &control.Token{Expires: now}; e.Paused = "stepup: paused" }), "deny"), []string{
			"it goes to vault with the step-up token that is there; nobody is asked",
		}},
		"login grant": {with(token, func(e *control.Explanation) { e.Grant.Kind, e.Grant.Path = "login", "auth/x/login/a" }), []string{
			"it goes to vault with your own token; when that refuses it, you log in once more at auth/x/login/a, with its password and whatever vault asks for",
			"it goes again with the new token, which serves later requests, too",
		}},
		"others": {group, []string{
			"it goes to vault as it is",
			"where vault wants the approval of others, it is waited for, up to 10m0s; ask ?[31mleads",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, wouldHappen(tt.e)); d != "" {
				t.Error(d)
			}
			if text := explainText(tt.e, now); strings.ContainsAny(text, "\x1b\r") {
				t.Errorf("%q", text)
			}
		})
	}
}
