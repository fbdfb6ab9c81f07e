package devvault

import (
	"testing"
	"time"
)

// Which tokens outlive the caller's own, however that one ends. As seen of Vault 1.21.
func TestTokenKinds(t *testing.T) {
	t.Parallel()
	kinds := map[string]struct {
		path, body string
		outlives   bool
	}{
		"child":            {"create", `{"policies":["dev"]}`, false},
		"child of a role":  {"create/child", `{}`, false},
		"batch":            {"create", `{"policies":["dev"],"type":"batch","ttl":"1h"}`, false},
		"batch of a role":  {"create/batch", `{"ttl":"1h"}`, true},
		"orphan of a role": {"create/orphan", `{}`, true},
		"no_parent":        {"create", `{"policies":["dev"],"no_parent":true}`, true},
		"create-orphan":    {"create-orphan", `{"policies":["dev"]}`, true},
	}
	ends := map[string]func(root, own client) answer{
		"revoke-self": func(_, own client) answer { return own.do("POST", "/v1/auth/token/revoke-self", nil) },
		"revoke": func(root, own client) answer {
			return root.do("POST", "/v1/auth/token/revoke", map[string]any{"token": own.token})
		},
		"revoke-accessor": func(root, own client) answer {
			accessor := own.do("GET", "/v1/auth/token/lookup-self", nil).text(own.t, "data", "accessor")
			return root.do("POST", "/v1/auth/token/revoke-accessor", map[string]any{"accessor": accessor})
		},
		"expiry": func(root, _ client) answer { root.clock.Add(31 * time.Minute); return answer{status: 204} },
	}
	for end, stop := range ends {
		for kind, tt := range kinds {
			t.Run(end+"/"+kind, func(t *testing.T) {
				t.Parallel()
				s, root := newFixture(t, Config{})
				root.t = t
				s.AddPolicy("minter", PathRule{Path: "auth/token/create*", Capabilities: []string{"update", "sudo"}})
				for name, role := range map[string]TokenRole{"child": {}, "batch": {Batch: true}, "orphan": {Orphan: true}} {
					role.AllowedPolicies = []string{"dev"}
					s.AddTokenRole(name, role)
				}
				own := root.as(s.NewToken(TokenSpec{Policies: []string{"default", "minter", "dev"}, TTL: 30 * time.Minute}))
				made := own.do("POST", "/v1/auth/token/"+tt.path, tt.body)
				if made.status != 200 {
					t.Fatalf("%d %s", made.status, made.body)
				}
				c := own.as(made.text(t, "auth", "client_token"))
				c.do("GET", "/v1/secret/data/x", nil).wantStatus(t, 200)
				stop(root, own).wantStatus(t, 204)
				own.do("GET", "/v1/secret/data/x", nil).refused(t, 403, textInvalidToken)
				if got := c.do("GET", "/v1/secret/data/x", nil); (got.status == 200) != tt.outlives {
					t.Errorf("it answers %d after the end of its caller's token", got.status)
				}
			})
		}
	}
}

func TestTokenCalls(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	s.AddPolicy("minter", PathRule{Path: "auth/token/create", Capabilities: []string{"update"}})
	own := s.CreateToken([]string{"default", "minter"}, "")
	used := s.NewToken(TokenSpec{Policies: []string{"default", "minter"}, NumUses: 5})
	batch := root.do("POST", "/v1/auth/token/create", `{"policies":["minter"],"type":"batch"}`).text(t, "auth", "client_token")
	checkRefusals(t, root, []refusal{
		{"orphan without sudo", own, "POST", "/v1/auth/token/create", `{"no_parent":true}`, nil, 400, textNoOrphan},
		{"child of a token with few uses", used, "POST", "/v1/auth/token/create", `{}`, nil, 400, textUsedParent},
		{"child of a batch token", batch, "POST", "/v1/auth/token/create", `{}`, nil, 400, textBatchParent},
		{"batch of root", "root", "POST", "/v1/auth/token/create", `{"type":"batch"}`, nil, 400, textBatchRoot},
		{"batch with uses", own, "POST", "/v1/auth/token/create", `{"type":"batch","num_uses":2}`, nil, 400, `batch tokens cannot have "num_uses" set`},
		{"batch with a limit", own, "POST", "/v1/auth/token/create", `{"type":"batch","explicit_max_ttl":"1h"}`, nil, 400, `batch tokens cannot have "explicit_max_ttl" set`},
		{"another type", own, "POST", "/v1/auth/token/create", `{"type":"x"}`, nil, 400, textBadType},
		{"revoking a batch token", "root", "POST", "/v1/auth/token/revoke", map[string]any{"token": batch}, nil, 400, textBatchRevoke},
		{"revoking nothing", "root", "POST", "/v1/auth/token/revoke", `{}`, nil, 400, textNoTokenID},
		{"revoking no accessor", "root", "POST", "/v1/auth/token/revoke-accessor", `{}`, nil, 400, textNoAccessorGiven},
		{"orphaning nothing", "root", "POST", "/v1/auth/token/revoke-orphan", `{"token":"x"}`, nil, 400, textNoTokenFound},
		{"looking up a dead token", "root", "POST", "/v1/auth/token/lookup", `{"token":"x"}`, nil, 403, textBadToken},
		{"looking up no accessor", "root", "POST", "/v1/auth/token/lookup-accessor", `{}`, nil, 400, textNoAccessorGiven},
		{"looking up an unknown accessor", "root", "POST", "/v1/auth/token/lookup-accessor", `{"accessor":"x"}`, nil, 400, textInvalidAccessor},
		{"revoking by GET", "root", "GET", "/v1/auth/token/revoke", nil, nil, 405, textUnsupported},
		{"revoking without the right", own, "POST", "/v1/auth/token/revoke", `{"token":"x"}`, nil, 403, textDenied},
	})
	root.do("POST", "/v1/auth/token/revoke", `{"token":"x"}`).want(t, 204, "")
	root.do("POST", "/v1/auth/token/revoke-accessor", `{"accessor":"x"}`).wantStatus(t, 200)
	parent := root.as(own)
	child := parent.do("POST", "/v1/auth/token/create", `{}`).text(t, "auth", "client_token")
	root.do("POST", "/v1/auth/token/revoke-orphan", map[string]any{"token": own}).want(t, 204, "")
	if got := root.as(child).do("GET", "/v1/auth/token/lookup-self", nil); got.status != 200 || got.at(t, "data", "orphan") != true {
		t.Errorf("the child of an orphaning revocation: %d %s", got.status, got.body)
	}
	if got := root.do("POST", "/v1/auth/token/lookup", map[string]any{"token": batch}); got.text(t, "data", "type") != "batch" || got.text(t, "data", "accessor") != "" {
		t.Errorf("a batch token: %d %s", got.status, got.body)
	}
}
