package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Wherever a login names its namespace, there is one: in the header, in the path, half
// and half. What Vault is asked for on its behalf goes there.
func TestLoginInANamespace(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path, header, want string
	}{
		"none":           {"/v1/auth/x/login/alice", "", ""},
		"header":         {"/v1/auth/x/login/alice", "/ns1/ns2/", "ns1/ns2"},
		"path":           {"/v1/ns1/ns2/auth/x/login/alice", "", "ns1/ns2"},
		"half and half":  {"/v1/ns2/auth/x/login/alice", "ns1", "ns1/ns2"},
		"root":           {"/v1/auth/x/login/alice", "root", ""},
		"root, and path": {"/v1/ns1//auth/x/login/alice", "/root/", "ns1"},
	} {
		for _, wrapped := range []bool{false, true} {
			t.Run(fmt.Sprint(name, wrapped), func(t *testing.T) {
				t.Parallel()
				vault, header, seen := challenge, []string{"X-Vault-Namespace", tt.header}, []string{"validated in " + tt.want}
				if wrapped {
					vault, header = wrappedChallenge, append(header, "X-Vault-Wrap-Ttl", "60s")
					seen = []string{"unwrapped in " + tt.want, "validated in " + tt.want}
				}
				var got calls
				f := newFixture(t, upstream(t, answer(200, vault)), func(c *relay.Config) {
					c.Unwrapper = unwrapper(func(_ secret.Secret, namespace string) ([]byte, error) {
						got.note("unwrapped in %s", namespace)
						return []byte(challenge), nil
					})
				})
				f.resolver.login = func(c mfa.Challenge) (*http.Response, mfa.Verdict) {
					got.note("validated in %s", c.Namespace)
					return loginAnswer(200, "{}", mfa.Verdict{Outcome: mfa.Approved})(c)
				}
				f.logIn(t, tt.path, header...)
				equal(t, "calls", []string{"login " + place(rule.Request{Namespace: tt.want, Path: "auth/x/login/alice"})}, f.resolver.noted())
				equal(t, "namespaces", seen, got.noted())
			})
		}
	}
}

// A path that is unclean once it is decoded means one thing to a mux and another to a
// backend: nothing is done for it but to relay it, with the caller's own token.
func TestUncleanPathIsOnlyRelayed(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/v1/sys/mounts/..%2f..%2fkv/data/prod/x", "/v1/kv/data/prod/%2e%2e/prod/x", "/v1/kv%2f%2fdata/prod/x", "/v1/kv/data/prod/x%2f%2f", "/v1/kv//data/prod/a%2fb",
		"/v1%2fkv/data/prod/x", "/v1/./auth/x%2flogin/alice", "/v1/auth/x/%2e/login/alice", "/v1/auth/ldap%2f%2flogin/alice", "/v1/auth/team/okta/login/..%2fbob",
		"/v1/auth/userpass/login/%2e%2e/login/x", "/v1/auth/token/%2e/renew-self", "/v1/sys/internal/ui/mounts/kv/%2e%2e/kv/prod/x",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			m, s := &mounts{}, &single{mounts: []string{"auth/userpass"}}
			denials := make(denialObserver, 1)
			address, got := rawUpstream(t, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "+fmt.Sprint(len(denied))+"\r\n\r\n"+denied)
			f := newFixture(t, address, prodRule, withMounts(m), func(c *relay.Config) {
				c.Rules = append(c.Rules, rule.Rule{Name: "mint", Paths: c.Rules[0].Paths, Grant: rule.Grant{Kind: rule.TokenGrant}})
				c.DenialObserver = denials
				play(c, s)
			})
			for _, request := range []string{
				"POST " + path + " HTTP/1.1\r\nHost: x\r\nX-Vault-Token: t\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
				"GET " + path + " HTTP/1.1\r\nHost: x\r\nX-Vault-Token: t\r\nConnection: close\r\n\r\n",
				"POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
			} {
				if answer := raw(t, f.url, request); !strings.HasPrefix(answer, "HTTP/1.1 403 ") || !strings.HasSuffix(answer, denied) || strings.Contains(answer, relay.Outcome) {
					t.Errorf("answer %s", answer)
				}
				if line, _, _ := strings.Cut(<-got, "\r\n"); !strings.Contains(request, line) {
					t.Errorf("vault saw %q", line)
				}
			}
			if calls := append(append(f.resolver.noted(), m.noted()...), s.noted()...); len(calls) != 0 {
				t.Errorf("resolver was asked %q", calls)
			}
			select {
			case h := <-denials:
				t.Errorf("reported %q", h)
			default:
			}
		})
	}
	t.Run("no login either", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, upstream(t, answer(200, challenge)))
		if got := f.logIn(t, "/v1/auth/x/login/%2e%2e"); got.Body != challenge || len(f.resolver.noted()) != 0 {
			t.Errorf("answer %+v after %q", got, f.resolver.noted())
		}
	})
}

// The address has a path that something in front of Vault takes off, after cleaning or
// before: a path that climbs into it is nothing that a rule may speak for.
func TestBasePathIsNotClimbed(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/v1/kv/data/prod/x": 1, "/v1/kv/./data/prod/x": 1, "/../v1/kv/data/prod/x": 0, "/../lb/v1/kv/data/prod/x": 0, "//v1/kv/data/prod/x": 1} {
		f := newFixture(t, upstream(t, guardedVault("totp:1"))+"/lb", prodRule)
		raw(t, f.url, "GET "+path+" HTTP/1.1\r\nHost: x\r\nX-Vault-Token: t\r\nConnection: close\r\n\r\n")
		if calls := f.resolver.noted(); min(len(calls), 1) != want {
			t.Errorf("%s: %q", path, calls)
		}
	}
}

// A redirect may not lead a step-up token, or codes, to what was not stepped up.
func TestRedirectToAnotherPath(t *testing.T) {
	t.Parallel()
	for location, ok := range map[string]bool{
		"/v1/kv/data/prod/x?version=1": true, "/v1/kv/data/prod%2f/x": false, "/v1/kv/data/prod/x/": false, "/v1/kv/data/prod/%2e%2e/x": false,
		"/v1/sys/seal": false, "/v1/kv/data/prod/x?list=true": false, "/v1/kv/data/prod/%78": true, "/lb/v1/kv/data/prod/x": true,
	} {
		for _, token := range []string{"", "elevated"} {
			var arrived calls
			address := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Vault-Token") != "elevated" && r.Header.Get("X-Vault-Mfa") == "" {
					answer(403, denied)(w, r)
					return
				}
				arrived.note("%s", r.RequestURI)
				if len(arrived.noted()) == 1 {
					w.Header().Set("Location", location)
					w.WriteHeader(http.StatusTemporaryRedirect)
				}
			})
			f := newFixture(t, address+"/lb", prodRule)
			f.resolver.stepUp = func(_ rule.Match, send stepup.Send) (*http.Response, mfa.Verdict) {
				credentials := []mfa.Credential{{Method: "totp", Passcode: "1"}}
				if token != "" {
					credentials = nil
				}
				resp, err := send(context.Background(), credentials, cache.Token{Secret: secret.Secret(token)})
				if err != nil {
					return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: err.Error()}
				}
				return resp, mfa.Verdict{Outcome: mfa.Approved}
			}
			got := f.send(t, "GET /v1/kv/data/prod/x", "", "X-Vault-Token", "t")
			if (got.Status == 200) != ok || (len(arrived.noted()) == 2) != ok || !ok && !strings.Contains(got.Body, "another path") {
				t.Errorf("%s: %+v, vault saw %q", location, got, arrived.noted())
			}
		}
	}
}

// A look at a mount that is about none of a rule's paths costs nothing: whatever Vault
// says to it is the answer, also when the body is too large to be kept.
func TestPreflightOfAMountAsksForNothing(t *testing.T) {
	t.Parallel()
	tokenGrant := func(c *relay.Config) { c.Rules[0].Grant.Kind = rule.TokenGrant }
	for _, tt := range []struct {
		path, body string
		calls      []string
	}{
		{"kv", "", []string{"first kv"}},
		{"kv/prod", "", nil},
		{"kv/prod/x", "", []string{"first kv/prod/x", "step-up read kv/prod/x once=false token=t"}},
		{"kv/else", "", nil},
		{"kv", strings.Repeat("b", 2000), nil},
		{"kv/prod", strings.Repeat("b", 2000), nil},
		{"kv/prod/x", strings.Repeat("b", 2000), []string{"step-up read kv/prod/x once=true token=t"}},
		{"kv/else", strings.Repeat("b", 2000), nil},
	} {
		f := newFixture(t, upstream(t, guardedVault("totp:1")), prodRule, tokenGrant)
		got := f.send(t, "GET /v1/sys/internal/ui/mounts/"+tt.path, tt.body, "X-Vault-Token", "t")
		equal(t, tt.path, reply{403, denied, ""}, got)
		equal(t, tt.path, tt.calls, f.resolver.noted())
	}
}
