package relay_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/cache/secret"
)

// revocations writes down what it hears, tokens in clear.
type revocations struct {
	mu    sync.Mutex
	heard []string
}

func (r *revocations) Revoked(token secret.Secret, accessor string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, "token="+token.Reveal()+" accessor="+accessor)
}

// Every way to revoke a token is heard of when Vault has confirmed it, in any
// namespace and spelling, and the request goes by as it is.
func TestRevocations(t *testing.T) {
	t.Parallel()
	unsure := []string{"token= accessor="}
	large := `{"pad":"` + strings.Repeat("x", 70<<10) + `","token":"T"}`
	tests := map[string]struct {
		method, path, body string
		header             []string
		status             int
		heard              []string
	}{
		"self":                     {method: "POST", path: "auth/token/revoke-self", status: 204, heard: []string{"token=mine accessor="}},
		"self, by PUT":             {method: "PUT", path: "auth/token/revoke-self", status: 204, heard: []string{"token=mine accessor="}},
		"self, as a bearer":        {method: "POST", path: "auth/token/revoke-self", header: []string{"Authorization", "Bearer  mine "}, status: 204, heard: []string{"token=mine accessor="}},
		"self, in a namespace":     {method: "POST", path: "ns1/ns2/auth/token/revoke-self", status: 204, heard: []string{"token=mine accessor="}},
		"self, encoded":            {method: "POST", path: "auth/token/%72evoke-self", status: 204, heard: []string{"token=mine accessor="}},
		"self, refused":            {method: "POST", path: "auth/token/revoke-self", status: 403},
		"token":                    {method: "POST", path: "auth/token/revoke", body: `{"token":"T"}`, status: 204, heard: []string{"token=T accessor="}},
		"token of a form":          {method: "POST", path: "auth/token/revoke", body: "a=b&token=T", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 204, heard: []string{"token=T accessor="}},
		"JSON that says it is one": {method: "POST", path: "auth/token/revoke", body: ` {"token":"T"}`, header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 204, heard: []string{"token=T accessor="}},
		"orphan":                   {method: "PUT", path: "auth/token/revoke-orphan", body: `{"token":"T"}`, status: 200, heard: []string{"token=T accessor="}},
		"accessor":                 {method: "POST", path: "auth/token/revoke-accessor", body: `{"accessor":"A"}`, status: 204, heard: []string{"token= accessor=A"}},
		"odd body":                 {method: "POST", path: "auth/token/revoke", body: `{"token":7}`, status: 204, heard: unsure},
		"no JSON":                  {method: "POST", path: "auth/token/revoke", body: `token`, status: 204, heard: unsure},
		"too large":                {method: "POST", path: "auth/token/revoke", body: large, status: 204, heard: unsure},
		"lease":                    {method: "PUT", path: "sys/leases/revoke", body: `{"lease_id":"auth/x/login/y"}`, status: 204, heard: unsure},
		"leases by prefix":         {method: "PUT", path: "ns1/sys/leases/revoke-prefix/auth/x", status: 204, heard: unsure},
		"leases, the old way":      {method: "PUT", path: "sys/revoke-force/auth/x", status: 204, heard: unsure},
		"auth method":              {method: "DELETE", path: "sys/auth/x", status: 204, heard: unsure},
		"namespace":                {method: "DELETE", path: "sys/namespaces/ns1", status: 204, heard: unsure},
		"something else":           {method: "POST", path: "auth/token/renew-self", status: 200},
		"a read":                   {method: "GET", path: "auth/token/revoke-self", status: 200},
		"a policy of that name":    {method: "DELETE", path: "sys/policies/acl/revoke", status: 204},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got string
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = r.Method + " " + r.RequestURI + " " + string(body)
				w.WriteHeader(tt.status)
			}))
			t.Cleanup(upstream.Close)
			heard := &revocations{}
			f := newFixture(t, upstream.URL, func(c *relay.Config) { play(c, heard) })
			r, err := http.NewRequestWithContext(t.Context(), tt.method, f.url+"/v1/"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Vault-Token", "mine")
			if len(tt.header) > 0 {
				r.Header.Set(tt.header[0], tt.header[1])
			}
			if len(tt.header) > 0 && tt.header[0] == "Authorization" {
				r.Header.Del("X-Vault-Token")
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if d := cmp.Diff(tt.heard, heard.heard); d != "" {
				t.Error(d)
			}
			if want := tt.method + " /v1/" + tt.path + " " + tt.body; got != want || resp.StatusCode != tt.status {
				t.Errorf("Vault got %.80s, the app %d", got, resp.StatusCode)
			}
		})
	}
}

// Two spellings of one token are one caller.
func TestOneTokenInTwoHeaders(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(upstream.Close)
	heard := &revocations{}
	f := newFixture(t, upstream.URL, func(c *relay.Config) { play(c, heard) })
	for _, header := range []http.Header{
		{"X-Vault-Token": {"mine"}},
		{"X-Vault-Token": {" mine "}},
		{"Authorization": {"Bearer mine"}},
		{"Authorization": {"Bearer    mine  "}},
		{"Authorization": {"Basic eDp5", "Bearer mine"}},
		{"Authorization": {"Bearer else"}, "X-Vault-Token": {"mine"}},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/v1/auth/token/revoke-self", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	for i, who := range heard.heard {
		if who != "token=mine accessor=" {
			t.Errorf("%d: %s", i, who)
		}
	}
	if len(heard.heard) != 6 {
		t.Error(heard.heard)
	}
}
