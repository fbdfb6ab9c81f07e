package stepup_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// in is m for a request in a namespace.
func in(m rule.Match, namespace string) rule.Match {
	m.Request.Namespace = namespace
	return m
}

// Community Vault takes no notice of X-Vault-Namespace: a denial under a rule, or of a login,
// holds whatever namespace the next request names.
func TestNamespaceDoesNotEndACooldown(t *testing.T) {
	under := func(m rule.Match) func(*testing.T, *fixture, string) result {
		return func(t *testing.T, f *fixture, namespace string) result {
			return f.request(t.Context(), in(m, namespace))
		}
	}
	run(t, map[string]func(t *testing.T, f *fixture, namespace string) result{
		"header": under(prod("totp")), "token": under(deploy()), "login grant": under(secure()),
		"obtain": func(t *testing.T, f *fixture, namespace string) result {
			return result{f: f, v: f.resolver.Obtain(t.Context(), deploy().Rule, namespace, "tok")}
		},
		"login": func(t *testing.T, f *fixture, namespace string) result {
			c, _, err := mfa.Parse([]byte(heldLogin))
			if err != nil {
				t.Fatal(err)
			}
			q := rule.Request{Namespace: namespace, Path: "auth/x/login/alice", Operation: rule.Update}
			return f.of(f.resolver.Login(t.Context(), c, q), nil)
		},
	}, func(t *testing.T, ask func(t *testing.T, f *fixture, namespace string) result) {
		f := newFixture(t, nil)
		f.person.codes("no", "no")
		for i, outcome := range []mfa.Outcome{mfa.Denied, mfa.Cooldown, mfa.Cooldown, mfa.Cooldown, mfa.Cooldown} {
			ask(t, f, fmt.Sprint("ns", i)).check(t, want{outcome: outcome})
		}
		equal(t, "prompts", 1, len(f.person.asked))
		time.Sleep(31 * time.Second)
		ask(t, f, "").check(t, want{outcome: mfa.Denied}) // after the cool-down
	})
}

// Nor do requests in many namespaces at once make more than one prompt at a time.
func TestNamespacesWaitForOneTurn(t *testing.T) {
	run(t, map[string]rule.Match{"header": prod("totp"), "token": deploy(), "login": secure()}, func(t *testing.T, m rule.Match) {
		f := newFixture(t, nil)
		f.person.codes("5s no")
		together(20, func(i int) { f.request(t.Context(), in(m, fmt.Sprint("ns", i))).check(t, want{outcome: mfa.Denied}) })
		equal(t, "prompts", 1, len(f.person.asked))
	})
}

// A grant makes its token in the namespace of the request, says so, and the token serves there
// only.
func TestTokenOfANamespace(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "222222")
		f.vault.mintFor = func(r vault.MintRequest) (*http.Response, error) { return minted("for-"+r.Namespace, 300, 0), nil }
		for _, namespace := range []string{"ns1", "ns2", "ns1"} {
			f.up.right = "token for-" + namespace
			r := f.request(t.Context(), in(deploy(), namespace))
			r.check(t, want{outcome: r.v.Outcome, status: 200})
			equal(t, "ok", true, r.v.OK())
		}
		got := [][]string{nil, nil, {f.audit.last.Namespace}}
		for _, r := range f.person.asked {
			got[0] = append(got[0], r.Namespace)
		}
		for _, r := range f.vault.mints {
			got[1] = append(got[1], r.Namespace)
		}
		equal(t, "namespaces of prompts, mints and audit log", [][]string{{"ns1", "ns2"}, {"ns1", "ns2"}, {"ns1"}}, got)
	})
}

// A kept password goes to the namespace of the configuration and to no other: a program chooses
// which one a request names.
func TestKeptPasswordStaysAtHome(t *testing.T) {
	type test struct {
		ofVault, ofRule, request string
		home                     bool
		from                     string
	}
	tests := make(map[string]test)
	for name, tt := range map[string]test{
		"root":                      {"", "", "", true, ""},
		"of the vault block":        {"/team/", "", "team", true, ""},
		"of the rule":               {"team", "ns1", "ns1", true, ""},
		"the rule says root":        {"team", "root", "", true, ""},
		"only the request names it": {"", "", "ns1", false, ""},
		"another than the block's":  {"team", "", "ns1", false, ""},
		"root, in spite of that":    {"team", "", "", false, ""},
		"not clean":                 {"team", "", "team/.", false, ""},
	} {
		for _, tt.from = range []string{"keyring", "command"} {
			tests[name+", "+tt.from] = tt
		}
	}
	run(t, tests, func(t *testing.T, tt test) {
		f := newFixture(t, func(c *stepup.Config) { c.Namespace = tt.ofVault })
		f.secrets.password = "kept"
		f.person.codes("typed")
		f.vault.login, f.up.right = inOrder(minted("new", 300, 0)), "token new"
		m := in(secure(), tt.request)
		m.Rule.Namespace = tt.ofRule
		if m.Rule.Grant.Password = "keyring"; tt.from == "command" {
			m.Rule.Grant.Password, m.Rule.Grant.PasswordCommand = "", []string{"pass"}
		}
		password := "typed"
		if tt.home {
			password = "kept"
		}
		f.request(t.Context(), m).check(t, want{outcome: mfa.Approved, passwords: []string{password}, kept: nothing})
		equal(t, "namespace of the login", tt.request, f.vault.logins[0].Namespace)
		asked := slices.ContainsFunc(f.person.asked, func(q prompt.Request) bool { return q.Kind == prompt.Password && q.Namespace == tt.request })
		equal(t, "asked", !tt.home, asked)
	})
}

// A look at a mount is served with a token that is there, under whichever of its rules, and
// never asks for one, however eager they are.
func TestKeptTokensServeAMount(t *testing.T) {
	one, two := deploy(), secure()
	one.Rule.Grant.Eager, two.Rule.Grant.Eager = true, true
	mount := rule.Match{Rule: one.Rule, Request: rule.Request{Path: "kv", Operation: rule.Read}, Preflight: true, Kept: []rule.Match{one, two}}
	type test struct {
		stored map[string]secret.Secret
		dead   bool
		lines  []string // sent
	}
	run(t, map[string]test{
		"none":           {lines: []string{""}},
		"of the first":   {stored: map[string]secret.Secret{"deploy": "one"}, lines: []string{"token one"}},
		"of the second":  {stored: map[string]secret.Secret{"secure": "two"}, lines: []string{"token two"}},
		"both":           {stored: map[string]secret.Secret{"deploy": "one", "secure": "two"}, lines: []string{"token one"}},
		"dead ones":      {stored: map[string]secret.Secret{"deploy": "one", "secure": "two"}, dead: true, lines: []string{"token one", "token two", ""}},
		"another rule's": {stored: map[string]secret.Secret{"other": "three"}, lines: []string{""}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		for of, token := range tt.stored {
			key := keyOf("tok")
			key.Rule = of
			f.cached(t, key, token)
		}
		if tt.dead {
			f.vault.lookup = statusError(403, "permission denied")
		}
		outcome := mfa.Outcome("")
		if len(tt.stored) > 0 && !tt.dead && tt.lines[0] != "" {
			outcome = mfa.Cached
		}
		f.first(t.Context(), mount).check(t, want{outcome: outcome, status: 403, sent: tt.lines, asked: nothing})
		equal(t, "mints and logins", 0, len(f.vault.mints)+len(f.vault.passwords))
	})
}
