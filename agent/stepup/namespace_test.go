package stepup_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// in is m for a request in a namespace.
func in(m rule.Match, namespace string) rule.Match {
	m.Request.Namespace = namespace
	return m
}

// Community Vault takes no notice of X-Vault-Namespace: a no under a rule, or to a
// login, holds whatever the next request says there.
func TestNamespaceDoesNotEndACooldown(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(t *testing.T, s *fixture, namespace string) mfa.Verdict{
		"header": func(t *testing.T, s *fixture, namespace string) mfa.Verdict {
			_, v, _ := first(t.Context(), s, in(prod("totp"), namespace), &sending{right: "nothing"})
			return v
		},
		"token": func(t *testing.T, s *fixture, namespace string) mfa.Verdict {
			_, v, _ := first(t.Context(), s, in(deploy(), namespace), &sending{right: "nothing"})
			return v
		},
		"login grant": func(t *testing.T, s *fixture, namespace string) mfa.Verdict {
			_, v, _ := first(t.Context(), s, in(secure(), namespace), &sending{right: "nothing"})
			return v
		},
		"obtain": func(t *testing.T, s *fixture, namespace string) mfa.Verdict {
			return s.resolver.Obtain(t.Context(), deploy().Rule, namespace, "tok")
		},
		"login": func(t *testing.T, s *fixture, namespace string) mfa.Verdict {
			c, _, err := mfa.Parse([]byte(heldLogin))
			if err != nil {
				t.Fatal(err)
			}
			_, v := s.resolver.Login(t.Context(), c, rule.Request{Namespace: namespace, Path: "auth/x/login/alice", Operation: rule.Update})
			return v
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.person.codes("no", "no")
				var got []mfa.Outcome
				for i := range 5 {
					got = append(got, ask(t, s, fmt.Sprint("ns", i)).Outcome)
				}
				want := []mfa.Outcome{mfa.Denied, mfa.Cooldown, mfa.Cooldown, mfa.Cooldown, mfa.Cooldown}
				if d := cmp.Diff(want, got); d != "" || len(s.person.asked) != 1 {
					t.Errorf("%d questions %s", len(s.person.asked), d)
				}
				time.Sleep(31 * time.Second)
				if v := ask(t, s, ""); v.Outcome != mfa.Denied {
					t.Errorf("after the cool-down: %+v", v)
				}
			})
		})
	}
}

// Nor do requests in many namespaces at once ask more than one question at a time.
func TestNamespacesWaitForOneTurn(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]rule.Match{"header": prod("totp"), "token": deploy(), "login": secure()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.person.codes("no")
				s.person.thinks(5 * time.Second)
				outcomes := make(chan mfa.Outcome, 20)
				for i := range cap(outcomes) {
					go func() {
						_, v, _ := first(t.Context(), s, in(m, fmt.Sprint("ns", i)), &sending{right: "nothing"})
						outcomes <- v.Outcome
					}()
				}
				for range cap(outcomes) {
					if o := <-outcomes; o != mfa.Denied {
						t.Errorf("outcome %q", o)
					}
				}
				if n := len(s.person.asked); n != 1 {
					t.Errorf("%d questions", n)
				}
			})
		})
	}
}

// A grant makes its token in the namespace of the request, says so, and the token
// serves there only.
func TestTokenOfANamespace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222")
		s.vault.mint = func(_ context.Context, r vault.MintRequest) (*http.Response, error) {
			return minted("for-"+r.Namespace, 300, 0), nil
		}
		for _, namespace := range []string{"ns1", "ns2", "ns1"} {
			resp, v, err := first(t.Context(), s, in(deploy(), namespace), &sending{right: "token for-" + namespace})
			if err != nil || !v.OK() || resp.StatusCode != 200 {
				t.Errorf("%s: %+v %v", namespace, v, err)
			}
		}
		if len(s.person.asked) != 2 || s.person.asked[0].Namespace != "ns1" || s.person.asked[1].Namespace != "ns2" || s.audit.last.Namespace != "ns1" {
			t.Errorf("asked %+v, audit %+v", s.person.asked, s.audit.last)
		}
		if len(s.vault.mints) != 2 || s.vault.mints[0].Namespace != "ns1" || s.vault.mints[1].Namespace != "ns2" {
			t.Errorf("minted %d times", len(s.vault.mints))
		}
	})
}

// A kept password goes to the namespace of the configuration and to no other: which
// one a request names is a program's choice.
func TestKeptPasswordStaysAtHome(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ofVault, ofRule, request string
		home                     bool
	}{
		"root":                      {"", "", "", true},
		"of the vault block":        {"/team/", "", "team", true},
		"of the rule":               {"team", "ns1", "ns1", true},
		"the rule says root":        {"team", "root", "", true},
		"only the request names it": {"", "", "ns1", false},
		"another than the block's":  {"team", "", "ns1", false},
		"root, in spite of that":    {"team", "", "", false},
		"not clean":                 {"team", "", "team/.", false},
	} {
		for kind, change := range map[string]func(*rule.Grant){
			"keyring": func(g *rule.Grant) { g.Password = "keyring" },
			"command": func(g *rule.Grant) { g.Password, g.PasswordCommand = "", []string{"pass"} },
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newFixture(t, func(c *stepup.Config) { c.Namespace = tt.ofVault })
					s.secrets.password = "kept"
					s.person.codes("typed")
					var logins []string
					s.vault.login = func(_ context.Context, r vault.LoginRequest) (*http.Response, error) {
						logins = append(logins, r.Namespace+" "+r.Password.Reveal())
						return minted("new", 300, 0), nil
					}
					m := in(secure(), tt.request)
					m.Rule.Namespace = tt.ofRule
					change(&m.Rule.Grant)
					if _, v, err := first(t.Context(), s, m, &sending{right: "token new"}); v.Outcome != mfa.Approved || err != nil {
						t.Fatalf("%+v %v", v, err)
					}
					want := tt.request + " typed"
					if tt.home {
						want = tt.request + " kept"
					}
					if !slices.Equal(logins, []string{want}) || len(s.secrets.kept) != 0 {
						t.Errorf("logged in with %q, kept %q", logins, s.secrets.kept)
					}
					asked := slices.ContainsFunc(s.person.asked, func(q prompt.Request) bool { return q.Kind == prompt.Password && q.Namespace == tt.request })
					if asked == tt.home {
						t.Errorf("asked %+v", s.person.asked)
					}
				})
			})
		}
	}
}

// A look at a mount is served with a token that is there, under whichever of its rules,
// and never asks for one, however eager they are.
func TestKeptTokensServeAMount(t *testing.T) {
	t.Parallel()
	one, two := deploy(), secure()
	one.Rule.Grant.Eager, two.Rule.Grant.Eager = true, true
	mount := rule.Match{Rule: one.Rule, Request: rule.Request{Path: "kv", Operation: rule.Read}, Preflight: true, Kept: []rule.Match{one, two}}
	key := func(name string) cache.Key {
		return cache.Key{Vault: "corp https://vault", Identity: "hmac-tok", Rule: name}
	}
	type test struct {
		kept map[string]secret.Secret
		dead bool
		want []string // what was sent
	}
	run(t, map[string]test{
		"none":           {want: []string{""}},
		"of the first":   {kept: map[string]secret.Secret{"deploy": "one"}, want: []string{"token one"}},
		"of the second":  {kept: map[string]secret.Secret{"secure": "two"}, want: []string{"token two"}},
		"both":           {kept: map[string]secret.Secret{"deploy": "one", "secure": "two"}, want: []string{"token one"}},
		"dead ones":      {kept: map[string]secret.Secret{"deploy": "one", "secure": "two"}, dead: true, want: []string{"token one", "token two", ""}},
		"another rule's": {kept: map[string]secret.Secret{"other": "three"}, want: []string{""}},
	}, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		for of, token := range tt.kept {
			_ = s.tokens.Put(t.Context(), key(of), cache.Token{Secret: token, Expires: time.Now().Add(time.Minute)})
		}
		if tt.dead {
			s.vault.lookup = &vault.StatusError{Status: 403, Errors: []string{"permission denied"}}
		}
		up := &sending{right: "nothing"}
		resp, v, err := s.resolver.First(t.Context(), mount, "tok", up.send)
		if err != nil || resp.StatusCode != 403 || (v.Outcome == mfa.Cached) != (len(tt.kept) > 0 && !tt.dead && tt.want[0] != "") {
			t.Errorf("%+v %v", v, err)
		}
		if d := cmp.Diff(tt.want, up.lines); d != "" {
			t.Error(d)
		}
		if len(s.person.asked)+len(s.vault.mints)+len(s.vault.passwords) != 0 {
			t.Errorf("asked %+v", s.person.asked)
		}
	})
}
