package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// newNamespaceRig has everything twice, in root and in ns1/ns2, with a user of one name
// and other secrets, passwords and policies.
func newNamespaceRig(t *testing.T) (*rig, *devvault.Namespace) {
	t.Helper()
	r := newRig(t)
	r.vault.AddNamespace("ns1")
	ns := r.vault.AddNamespace("ns1/ns2")
	ns.AddTOTPMethod("inner")
	ns.AddPolicy("inner", devvault.PathRule{Path: "kv/data/deep/*", Capabilities: []string{"read"}})
	alice := ns.AddUser("people", "alice", "inner-pw", "inner")
	if _, _, err := ns.EnrolTOTP("inner", alice); err != nil {
		t.Fatal(err)
	}
	if err := ns.AddLoginEnforcement("people", []string{"inner"}, []string{"people"}); err != nil {
		t.Fatal(err)
	}
	ns.AddKV("kv")
	if err := ns.PutSecret("kv/data/deep/db", map[string]any{"where": "inside"}); err != nil {
		t.Fatal(err)
	}
	people(t, r, "corp")
	r.token = ns.CreateToken([]string{"default"}, alice)
	c := r.config
	c.Rules = rule.Rules{{Name: "deep", Namespace: "ns1/ns2", Paths: patterns(t, "kv/data/deep/*"), Grant: rule.Grant{
		Kind: rule.LoginGrant, Path: "auth/people/login/alice", Password: "prompt",
	}}}
	if err := r.agent.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
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
				r, _ := newNamespaceRig(t)
				header := []string{"X-Vault-Namespace", in.header}
				want := `"client_token":"hvs.`
				if wrap != "" {
					header, want = append(header, "X-Vault-Wrap-TTL", wrap), `"wrapped_accessor":`
				}
				got := r.do(t, "POST", "/v1/"+in.prefix+"auth/people/login/alice", `{"password":"inner-pw"}`, header...)
				if got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, want) {
					t.Errorf("%+v", got)
				}
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
			r, _ := newNamespaceRig(t)
			path := "/v1/" + in.prefix + "kv/data/deep/db"
			outcome := "approved"
			for _, spelled := range append([]spelledIn{in}, spelledNamespaces()...) {
				got := r.do(t, "GET", "/v1/"+spelled.prefix+"kv/data/deep/db", "", "X-Vault-Token", r.token, "X-Vault-Namespace", spelled.header)
				if got.status != 200 || got.outcome != outcome || !strings.Contains(got.body, "inside") {
					t.Errorf("%s as %+v: %+v", path, spelled, got)
				}
				outcome = "cached"
			}
			if n := len(r.asked.Requests()); n != 2 {
				t.Errorf("%d questions", n)
			}
			for _, other := range []spelledIn{{"", ""}, {"ns1", ""}, {"ns1/ns2", "ns1/ns2/"}, {"", "ns1/"}, {"ns2", ""}, {"", "kv/ns1/ns2/"}} {
				if got := r.do(t, "GET", "/v1/"+other.prefix+"kv/data/deep/db", "", "X-Vault-Token", r.token, "X-Vault-Namespace", other.header); got.outcome != "" {
					t.Errorf("as %+v: %+v", other, got)
				}
			}
			for _, sent := range r.vault.Requests() {
				if strings.Contains(sent.RawPath, "/login/") && sent.Header.Get("X-Vault-Namespace") != "ns1/ns2" {
					t.Errorf("logged in at %s in %q", sent.RawPath, sent.Header.Get("X-Vault-Namespace"))
				}
			}
			tokens := r.agent.Status(t.Context()).Tokens
			if !slices.ContainsFunc(tokens, func(k control.Token) bool { return k.Rule == "deep" && k.Namespace == "ns1/ns2" }) || len(tokens) != 1 {
				t.Errorf("tokens %+v", tokens)
			}
		})
	}
}
