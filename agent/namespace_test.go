package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// newNamespaceFixture has everything twice, in root and in ns1/ns2, with a user of one name
// and other secrets, passwords and policies.
func newNamespaceFixture(t *testing.T) (*fixture, *devvault.Namespace) {
	t.Helper()
	r := newFixture(t)
	r.vault.AddNamespace("ns1")
	ns := r.vault.AddNamespace("ns1/ns2")
	ns.AddTOTPMethod("inner")
	ns.AddPolicy("inner", devvault.PathRule{Path: "kv/data/deep/*", Capabilities: []string{"read"}})
	alice := ns.AddUser("people", "alice", "inner-pw", "inner")
	enrol(t, ns, "inner", alice)
	must(t, ns.AddLoginEnforcement("people", []string{"inner"}, []string{"people"}))
	ns.AddKV("kv")
	must(t, ns.PutSecret("kv/data/deep/db", map[string]any{"where": "inside"}))
	people(t, r, "corp")
	r.token = ns.CreateToken([]string{"default"}, alice)
	r.config.Rules = rule.Rules{{Name: "deep", Namespace: "ns1/ns2", Paths: patterns("kv/data/deep/*"), Grant: rule.Grant{
		Kind: rule.LoginGrant, Path: "auth/people/login/alice", Password: "prompt",
	}}}
	r.reload(t, r.config)
	r.person = func(_ context.Context, q prompt.Request) (string, error) {
		if q.Namespace != "ns1/ns2" {
			t.Errorf("asked about the namespace %q", q.Namespace)
		}
		if q.Kind == prompt.Password {
			return "inner-pw", nil
		}
		return ns.UnusedCode("inner", alice), nil
	}
	return r, ns
}

// A spelledIn is a way to write a namespace.
type spelledIn struct{ header, prefix string }

func spelledNamespaces() []spelledIn {
	return []spelledIn{
		{"ns1/ns2", ""}, {"/ns1/ns2/", ""}, {"", "ns1/ns2/"}, {"root", "ns1/ns2/"}, {"ns1", "ns2/"}, {"/ns1/", "ns2/"},
	}
}

// A held login is validated, and a wrapped one opened, where it was sent to.
func TestHeldLoginOfANamespace(t *testing.T) {
	t.Parallel()
	for _, in := range spelledNamespaces() {
		for _, wrap := range []string{"", "60s"} {
			t.Run(fmt.Sprintf("%+v%s", in, wrap), func(t *testing.T) {
				t.Parallel()
				r, _ := newNamespaceFixture(t)
				header := []string{"X-Vault-Namespace", in.header}
				want := `"client_token":"hvs.`
				if wrap != "" {
					header, want = append(header, "X-Vault-Wrap-TTL", wrap), `"wrapped_accessor":`
				}
				got := r.do(t, "POST", "/v1/"+in.prefix+"auth/people/login/alice", `{"password":"inner-pw"}`, header...)
				check(t, got, reply{200, want, "approved"})
			})
		}
	}
}

// A step-up happens in the namespace of header and path together, its token serves every
// spelling of that, and no password is sent anywhere else.
func TestStepUpInANamespace(t *testing.T) {
	t.Parallel()
	for _, in := range spelledNamespaces() {
		t.Run(fmt.Sprintf("%+v", in), func(t *testing.T) {
			t.Parallel()
			r, _ := newNamespaceFixture(t)
			outcome := "approved"
			for _, spelled := range append([]spelledIn{in}, spelledNamespaces()...) {
				got := r.read(t, spelled.prefix+"kv/data/deep/db", "X-Vault-Namespace", spelled.header)
				check(t, got, reply{200, "inside", outcome})
				outcome = "cached"
			}
			r.wantAsked(t, 2)
			for _, other := range []spelledIn{{"", ""}, {"ns1", ""}, {"ns1/ns2", "ns1/ns2/"}, {"", "ns1/"}, {"ns2", ""}, {"", "kv/ns1/ns2/"}} {
				if got := r.read(t, other.prefix+"kv/data/deep/db", "X-Vault-Namespace", other.header); got.outcome != "" {
					t.Errorf("as %+v: %+v", other, got)
				}
			}
			for _, sent := range r.vault.Requests() {
				if strings.Contains(sent.RawPath, "/login/") && sent.Header.Get("X-Vault-Namespace") != "ns1/ns2" {
					t.Errorf("logged in at %s in %q", sent.RawPath, sent.Header.Get("X-Vault-Namespace"))
				}
			}
			tokens := r.agent.Status(t.Context()).Tokens
			if len(tokens) != 1 || tokens[0].Rule != "deep" || tokens[0].Namespace != "ns1/ns2" {
				t.Errorf("tokens %+v", tokens)
			}
		})
	}
}
