package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The same table is asked of the development Vault (TestSpellings of agent/devvault): what Vault cleans
// is the path as it was sent. What is encoded in it arrives decoded, unclean, and as a path of its own.
func TestFactsOfSpellings(t *testing.T) {
	srv := parallel(t)
	tests := []struct {
		sent     string
		location string // of the redirect; "" when it is routed
		routed   string // the path that policies and mounts see
	}{
		{"nowhere/x", "", "nowhere/x"},
		{"nowhere/%78", "", "nowhere/x"},
		{"nowhere/a%2Fb", "", "nowhere/a/b"},
		{"nowhere/a%252Fb", "", "nowhere/a%2Fb"},
		{"nowhere/..%2fx", "", "nowhere/../x"},
		{"nowhere/..%2f..%2fx", "", "nowhere/../../x"},
		{"nowhere/%2e%2e/x", "", "nowhere/../x"},
		{"nowhere/%2e/x", "", "nowhere/./x"},
		{"nowhere/%2fx", "", "nowhere//x"},
		{"nowhere/x%2f", "", "nowhere/x/"},
		{"%6eowhere/x", "", "nowhere/x"},
		{"%2fnowhere/x", "", "/nowhere/x"},
		{"nowhere//x", "/v1/nowhere/x", ""},
		{"nowhere/./x", "/v1/nowhere/x", ""},
		{"nowhere/a/../x", "/v1/nowhere/x", ""},
		{"nowhere/a/../x/", "/v1/nowhere/x/", ""},
		{"nowhere//a%2fb", "/v1/nowhere/a%252fb", ""}, // the mux escapes it once more
		{"nowhere/%2e%2e/../x", "/v1/nowhere/x", ""},
		{"../v1%2fnowhere/x", "/v1%252fnowhere/x", ""},
	}
	for _, tt := range tests {
		g := request("GET", tt.sent, "root").send(t, srv.addr)
		if tt.location != "" {
			if g.status != 307 || g.header.Get("Location") != tt.location {
				t.Errorf("%s: %d to %q, want 307 to %q", tt.sent, g.status, g.header.Get("Location"), tt.location)
			}
			continue
		}
		if world.bao && hasDots(tt.sent) {
			g.wantErrors(t, 400, "relative paths not supported")
			continue
		}
		g.wantErrors(t, 404, fmt.Sprintf("no handler for route %q. route entry not found.", tt.routed))
	}
}

// hasDots reports whether a segment of the path that arrives is "." or "..", which OpenBao refuses on
// every path.
func hasDots(sent string) bool {
	path, err := url.PathUnescape(sent)
	return err == nil && slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." })
}

// The same table as TestPoliciesMatchThePathAsItArrives of agent/devvault.
func TestFactsOfPoliciesAndSpellings(t *testing.T) {
	srv := parallel(t)
	base := fmt.Sprintf("spelled%d", users.Add(1))
	srv.secret(t, "secret/data/"+base+"/deploy/web")
	u := srv.newUser(t, srv.policy(t, fmt.Sprintf(`
path "secret/data/%[1]s/deploy/*" { capabilities = ["read"] }
path "secret/data/%[1]s/+/web" { capabilities = ["read"] }
path "sys/*" { capabilities = ["read"] }`, base)))
	token := u.token(t)
	for path, status := range map[string]int{
		"secret/data/" + base + "/deploy/web":                 200,
		"secret/data%2f" + base + "%2fdeploy%2fweb":           200,
		"secret/data/" + base + "/other/..%2fdeploy/web":      403,
		"secret/data/" + base + "/deploy/%2e%2e/web":          404,
		"secret/data/" + base + "/deploy%2f%2e%2e%2fdeploy/x": 404,
		"secret/data/" + base + "/%2fweb":                     404,
		"secret/data/" + base + "/%2fx":                       403,
		"sys/..%2f..%2fsecret/data/" + base + "/deploy/web":   404,
		"%2fsecret/data/" + base + "/deploy/web":              404,
	} {
		if world.bao && hasDots(path) {
			status = 400
		}
		equal(t, path, request("GET", path, token).send(t, srv.addr).status, status)
	}
	for path, text := range map[string]string{"nope": "nope/", "nope%2f%2f": "nope//", "%2fsecret/x": "secret/x/"} {
		g := request("GET", "sys/internal/ui/mounts/"+path, srv.newUser(t).token(t)).send(t, srv.addr)
		want := fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", text)
		g.wantErrors(t, 403, want)
	}
}

// Community Vault gives X-Vault-Namespace back and takes it for nothing, whatever it names; to OpenBao
// only "root" is one that is there.
func TestFactsOfCommunityNamespaces(t *testing.T) {
	srv := parallel(t)
	token, kv := newReader(t)
	for _, ns := range []string{"ns1", "root", "/a/b/", "secret"} {
		g := request("GET", "secret/data/"+kv, token, "X-Vault-Namespace: "+ns).send(t, srv.addr)
		status := 200
		if world.bao && ns != "root" {
			status = 404
		}
		if g.status != status || g.header.Get("X-Vault-Namespace") != ns {
			t.Errorf("%q: %d, header %q", ns, g.status, g.header.Get("X-Vault-Namespace"))
		}
	}
}

// The same table as TestTokenKinds of agent/devvault: which tokens outlive the caller's own.
func TestFactsOfTokenKinds(t *testing.T) {
	srv := parallel(t)
	base := fmt.Sprintf("kinds%d", users.Add(1))
	policy := srv.policy(t, fmt.Sprintf(`
path "auth/token/create*" { capabilities = ["update", "sudo"] }
path "secret/data/%s" { capabilities = ["read"] }`, base))
	srv.secret(t, "secret/data/"+base)
	for name, more := range map[string]map[string]any{
		"child": {"orphan": false}, "batch": {"token_type": "batch", "orphan": true, "renewable": false}, "orphan": {"orphan": true},
	} {
		more["allowed_policies"] = policy
		srv.write(t, "auth/token/roles/"+base+name, more)
	}
	kinds := map[string]struct {
		path, body string
		outlives   bool
	}{
		"child":            {"create", `{}`, false},
		"child of a role":  {"create/" + base + "child", `{}`, false},
		"batch":            {"create", `{"type":"batch","ttl":"1h"}`, false},
		"batch of a role":  {"create/" + base + "batch", `{"ttl":"1h"}`, true},
		"orphan of a role": {"create/" + base + "orphan", `{}`, true},
		"no_parent":        {"create", `{"no_parent":true}`, true},
		"create-orphan":    {"create-orphan", `{}`, true},
	}
	for _, end := range []string{"revoke-self", "revoke", "revoke-accessor", "expiry"} {
		for kind, tt := range kinds {
			t.Run(end+"/"+kind, func(t *testing.T) {
				t.Parallel()
				ttl := "30m"
				if end == "expiry" {
					ttl = "2s"
				}
				made := srv.write(t, "auth/token/create", map[string]any{"policies": []string{policy}, "ttl": ttl})
				own := made.Auth.ClientToken
				read := func(token string) got { return request("GET", "secret/data/"+base, token).send(t, srv.addr) }
				token := request("POST", "auth/token/"+tt.path, own).with(tt.body).send(t, srv.addr).text(t, "auth", "client_token")
				read(token).wantStatus(t, 200)
				switch end {
				case "revoke-self":
					request("POST", "auth/token/revoke-self", own).send(t, srv.addr)
				case "revoke":
					srv.write(t, "auth/token/revoke", map[string]any{"token": own})
				case "revoke-accessor":
					srv.write(t, "auth/token/revoke-accessor", map[string]any{"accessor": made.Auth.Accessor})
				}
				eventually(t, "the caller's token is dead", func() bool { return read(own).status == 403 })
				if tt.outlives {
					read(token).wantStatus(t, 200)
					return
				}
				eventually(t, "it dies with the caller's token", func() bool { return read(token).status == 403 })
			})
		}
	}
}
