package vault

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuthMounts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		body   string
		want   []AuthMount
		ok     bool
	}{
		"some": {200, `{"data":{"auth":{"userpass/":{"type":"userpass"},"corp/ldap/":{"type":"ldap"}},"secret":{"kv/":{"type":"kv"}}}}`,
			[]AuthMount{{"auth/corp/ldap", "ldap"}, {"auth/userpass", "userpass"}}, true},
		"none":        {200, `{"data":{"auth":{},"secret":{}}}`, nil, true},
		"hostile":     {200, `{"data":{"auth":{"a\n}\naudit {":{"type":"x"},"b\u001b[2J/":{"type":"x"},"c/":{"type":"$x"},"\"${env.X}/":{"type":"x"}}}}`, nil, true},
		"not Vault's": {200, `<html>`, nil, false},
		"no data":     {200, `{}`, nil, false},
		"refused":     {403, `{"errors":["permission denied"]}`, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, "", tt.status, tt.body)
			got, err := f.AuthMounts(t.Context(), "team")
			if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != tt.ok {
				t.Errorf("error %v, mounts (-want +got):\n%s", err, diff)
			}
			seen := <-f.seen
			if diff := cmp.Diff(request{"GET /v1/sys/internal/ui/mounts", http.Header{"X-Vault-Namespace": {"team"}}, ""}, seen); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever answers, the names are harmless in a file and on a terminal, and few.
func FuzzAuthMounts(f *testing.F) {
	f.Add([]byte(`{"data":{"auth":{"userpass/":{"type":"userpass"}}}}`))
	f.Add([]byte(`{"data":{"auth":{"a\nb":{"type":"x"},"//":{"type":"x"}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		mounts, ok := parseAuthMounts(body)
		if !ok && mounts != nil || len(mounts) > maxMounts {
			t.Errorf("%v, %v", mounts, ok)
		}
		for i, m := range mounts {
			for _, r := range m.Path + m.Type {
				if r <= ' ' || r > '~' || r == '"' || r == '$' || r == '#' || r == '{' {
					t.Errorf("%+v", m)
				}
			}
			if len(m.Path) <= len("auth/") || i > 0 && m.Path < mounts[i-1].Path {
				t.Errorf("%+v in %v", m, mounts)
			}
		}
	})
}
