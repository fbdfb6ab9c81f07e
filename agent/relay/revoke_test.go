package relay_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/cache/secret"
)

// revocations writes down what it hears, tokens in clear.
type revocations struct{ calls }

func (r *revocations) Revoked(token secret.Secret, accessor string) {
	r.note("token=%s accessor=%s", token.Reveal(), accessor)
}

// Every way to revoke a token is heard of when Vault has confirmed it, in any
// namespace and spelling, and the request goes by as it is.
func TestRevocations(t *testing.T) {
	t.Parallel()
	const mine, named, unsure = "token=mine accessor=", "token=T accessor=", "token= accessor="
	token, form := []string{"X-Vault-Token", "mine"}, []string{"X-Vault-Token", "mine", "Content-Type", "application/x-www-form-urlencoded"}
	large := `{"pad":"` + strings.Repeat("x", 70<<10) + `","token":"T"}`
	type test struct {
		request, body string
		header        []string
		status        int
		want          string // "" hears nothing
	}
	tests := map[string]test{
		"self":                     {"POST /v1/auth/token/revoke-self", "", token, 204, mine},
		"self, by PUT":             {"PUT /v1/auth/token/revoke-self", "", token, 204, mine},
		"self, as a bearer":        {"POST /v1/auth/token/revoke-self", "", []string{"Authorization", "Bearer  mine "}, 204, mine},
		"self, in a namespace":     {"POST /v1/ns1/ns2/auth/token/revoke-self", "", token, 204, mine},
		"self, encoded":            {"POST /v1/auth/token/%72evoke-self", "", token, 204, mine},
		"self, refused":            {"POST /v1/auth/token/revoke-self", "", token, 403, ""},
		"token":                    {"POST /v1/auth/token/revoke", `{"token":"T"}`, token, 204, named},
		"token of a form":          {"POST /v1/auth/token/revoke", "a=b&token=T", form, 204, named},
		"JSON that says it is one": {"POST /v1/auth/token/revoke", ` {"token":"T"}`, form, 204, named},
		"orphan":                   {"PUT /v1/auth/token/revoke-orphan", `{"token":"T"}`, token, 200, named},
		"accessor":                 {"POST /v1/auth/token/revoke-accessor", `{"accessor":"A"}`, token, 204, "token= accessor=A"},
		"odd body":                 {"POST /v1/auth/token/revoke", `{"token":7}`, token, 204, unsure},
		"no JSON":                  {"POST /v1/auth/token/revoke", `token`, token, 204, unsure},
		"too large":                {"POST /v1/auth/token/revoke", large, token, 204, unsure},
		"lease":                    {"PUT /v1/sys/leases/revoke", `{"lease_id":"auth/x/login/y"}`, token, 204, unsure},
		"leases by prefix":         {"PUT /v1/ns1/sys/leases/revoke-prefix/auth/x", "", token, 204, unsure},
		"leases, the old way":      {"PUT /v1/sys/revoke-force/auth/x", "", token, 204, unsure},
		"auth method":              {"DELETE /v1/sys/auth/x", "", token, 204, unsure},
		"namespace":                {"DELETE /v1/sys/namespaces/ns1", "", token, 204, unsure},
		"something else":           {"POST /v1/auth/token/renew-self", "", token, 200, ""},
		"a read":                   {"GET /v1/auth/token/revoke-self", "", token, 200, ""},
		"a policy of that name":    {"DELETE /v1/sys/policies/acl/revoke", "", token, 204, ""},
	}
	each(t, tests, func(t *testing.T, tt test) {
		var got calls
		heard := &revocations{}
		f := newFixture(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got.note("%s %s %s", r.Method, r.RequestURI, body)
			w.WriteHeader(tt.status)
		}), func(c *relay.Config) { play(c, heard) })
		equal(t, "answer", reply{tt.status, "", ""}, f.send(t, tt.request, tt.body, tt.header...))
		equal(t, "heard", tt.want, strings.Join(heard.noted(), "; "))
		equal(t, "vault got", []string{tt.request + " " + tt.body}, got.noted())
	})
}

// Two spellings of one token are one caller.
func TestOneTokenInTwoHeaders(t *testing.T) {
	t.Parallel()
	heard := &revocations{}
	f := newFixture(t, upstream(t, answer(204, "")), func(c *relay.Config) { play(c, heard) })
	for _, header := range [][]string{
		{"X-Vault-Token", "mine"},
		{"X-Vault-Token", " mine "},
		{"Authorization", "Bearer mine"},
		{"Authorization", "Bearer    mine  "},
		{"Authorization", "Basic eDp5", "Authorization", "Bearer mine"},
		{"Authorization", "Bearer else", "X-Vault-Token", "mine"},
	} {
		f.send(t, "POST /v1/auth/token/revoke-self", "", header...)
	}
	equal(t, "heard", slices.Repeat([]string{"token=mine accessor="}, 6), heard.noted())
}
