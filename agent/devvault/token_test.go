package devvault

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLookupSelf(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	c.do("GET", "/v1/auth/token/lookup-self", nil).want(t, 200, envelopeHead+`"data":{"accessor":"ACCESSOR","creation_time":1772366400,"creation_ttl":0,"display_name":"token","entity_id":"","expire_time":null,"explicit_max_ttl":0,"id":"root","issue_time":"TIME","meta":null,"num_uses":0,"orphan":true,"path":"auth/token/create","policies":["root"],"renewable":false,"ttl":0,"type":"service"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"token"}`+"\n")

	login := c.as("").login("alice")
	login.want(t, 200, envelopeHead+`"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"TOKEN","accessor":"ACCESSOR","policies":["default","dev"],"token_policies":["default","dev"],"metadata":{"username":"alice"},"lease_duration":2764800,"renewable":true,"entity_id":"UUID","token_type":"service","orphan":true,"mfa_requirement":null,"num_uses":0},"mount_type":""}`+"\n")
	if got, want := login.text(t, "auth", "entity_id"), s.AddEntity("alice"); got != want {
		t.Errorf("entity %s, want %s", got, want)
	}
	alice := c.as(login.text(t, "auth", "client_token"))
	c.clock.Add(time.Minute)
	alice.do("GET", "/v1/auth/token/lookup-self", nil).want(t, 200, envelopeHead+`"data":{"accessor":"ACCESSOR","creation_time":1772366400,"creation_ttl":2764800,"display_name":"userpass-alice","entity_id":"UUID","expire_time":"TIME","explicit_max_ttl":0,"id":"TOKEN","issue_time":"TIME","meta":{"username":"alice"},"num_uses":0,"orphan":true,"path":"auth/userpass/login/alice","policies":["default","dev"],"renewable":true,"ttl":2764740,"type":"service"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"token"}`+"\n")
	alice.do("POST", "/v1/auth/token/revoke-self", nil).want(t, 204, "")
	alice.do("GET", "/v1/auth/token/lookup-self", nil).refused(t, 403, textInvalidToken)
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{TokenTTL: time.Hour})
	login := c.as("").login("alice")
	tokens := map[string]string{
		"of a login": login.text(t, "auth", "client_token"),
		"made in Go": s.NewToken(TokenSpec{Policies: []string{"default"}, TTL: time.Hour}),
		"of a child": c.do("POST", "/v1/auth/token/create", `{"policies":["dev"],"ttl":"1h"}`).text(t, "auth", "client_token"),
	}
	for name, token := range tokens {
		t.Log(name)
		c.as(token).do("GET", "/v1/auth/token/lookup-self", nil).wantAt(t, 3600.0, "data", "ttl")
	}
	c.clock.Add(time.Hour)
	for _, token := range tokens {
		c.as(token).do("GET", "/v1/auth/token/lookup-self", nil).refused(t, 403, textInvalidToken)
	}
	c.do("GET", "/v1/auth/token/lookup-self", nil).wantStatus(t, 200)
}

func TestRenewSelf(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	c = c.as(s.NewToken(TokenSpec{Policies: []string{"default"}, TTL: time.Hour}))
	c.clock.Add(59 * time.Minute)
	c.do("POST", "/v1/auth/token/renew-self", `{"increment":"2h"}`).wantAt(t, 7200.0, "auth", "lease_duration")
	c.clock.Add(time.Hour)
	got := c.do("GET", "/v1/auth/token/lookup-self", nil)
	if got.at(t, "data", "ttl") != 3600.0 || got.text(t, "data", "last_renewal") != "2026-03-01T12:59:00Z" {
		t.Errorf("after an hour: %s", got.body)
	}
	s.AddTokenRole("short", TokenRole{AllowedPolicies: []string{"default"}, MaxTTL: 10 * time.Minute})
	child := c.as("root").do("POST", "/v1/auth/token/create/short", `{"ttl":"5m"}`)
	got = c.as(child.text(t, "auth", "client_token")).do("POST", "/v1/auth/token/renew-self", `{"increment":3600}`)
	if got.at(t, "auth", "lease_duration") != 600.0 {
		t.Errorf("renewed past its maximum: %s", got.body)
	}
}

func TestUseLimit(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	c = c.as(s.NewToken(TokenSpec{Policies: []string{"default", "dev"}, NumUses: 4}))
	c.do("GET", "/v1/secret/data/deny", nil).refused(t, 403, textDenied) // costs a use too
	c.do("GET", "/v1/sys/internal/ui/mounts/secret/x", nil).wantStatus(t, 200)
	c.do("GET", "/v1/auth/token/lookup-self", nil).wantAt(t, 2.0, "data", "num_uses")
	c.do("GET", "/v1/secret/data/x", nil).wantStatus(t, 200)
	c.do("GET", "/v1/auth/token/lookup-self", nil).wantAt(t, -1.0, "data", "num_uses")
	c.do("GET", "/v1/auth/token/lookup-self", nil).refused(t, 403, textInvalidToken)
}

func TestCreateToken(t *testing.T) {
	t.Parallel()
	s, root := newFixture(t, Config{})
	s.AddPolicy("minter", PathRule{Path: "auth/token/create*", Capabilities: []string{"update"}})
	s.AddPolicy("prod", PathRule{Path: "secret/data/prod", Capabilities: []string{"read"}})
	s.AddTokenRole("prod", TokenRole{AllowedPolicies: []string{"prod"}, MaxTTL: 10 * time.Minute})
	s.AddTokenRole("any", TokenRole{Orphan: true})
	minter := s.CreateToken([]string{"default", "minter", "dev"}, "alice")
	bare := s.CreateToken([]string{"minter"}, "alice")
	tests := []struct {
		name, token, path, body string
		refused                 string
		policies                string
		lease                   float64
		warning                 string
	}{
		{"as root", "root", "create", `{}`, "", "root", 0, ""},
		{"as root with policies", "root", "create", `{"policies":["dev"],"ttl":"5m"}`, "", "default dev", 300, ""},
		{"as root without default", "root", "create", `{"policies":"dev","no_default_policy":true,"ttl":60}`, "", "dev", 60, ""},
		{"like the parent", minter, "create", ``, "", "default dev minter", 2764800, ""},
		{"less than the parent", minter, "create", `{"policies":["dev"]}`, "", "default dev", 2764800, ""},
		{"parent without default", bare, "create", `{"policies":["minter"]}`, "", "minter", 2764800, ""},
		{"more than the parent", minter, "create", `{"policies":["prod"]}`, "child policies must be subset of parent", "", 0, ""},
		{"root by a user", minter, "create", `{"policies":["root"]}`, "child policies must be subset of parent", "", 0, ""},
		{"by role", minter, "create/prod", `{"ttl":"5m"}`, "", "default prod", 300, ""},
		{"by role, by name", minter, "create/prod", `{"policies":["prod"],"ttl":"5m"}`, "", "default prod", 300, ""},
		{"by role, too long", minter, "create/prod", `{"ttl":"1h"}`, "", "default prod", 600, `TTL of "1h" exceeded the effective max_ttl of "10m"; TTL value is capped accordingly`},
		{"by role, default", minter, "create/prod", ``, "", "default prod", 600, `TTL of "768h" exceeded the effective max_ttl of "10m"; TTL value is capped accordingly`},
		{"by role, not its policy", minter, "create/prod", `{"policies":["dev"]}`, `token policies (["dev"]) must be subset of the role's allowed policies (["default" "prod"]) or glob policies ([])`, "", 0, ""},
		{"by role without policies", minter, "create/any", `{"policies":["dev"]}`, "", "default dev", 2764800, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := root.as(tt.token).in(t)
			got := c.do("POST", "/v1/auth/token/"+tt.path, tt.body)
			if tt.refused != "" {
				got.refused(t, 400, tt.refused)
				return
			}
			policies := strings.Trim(fmt.Sprint(got.at(t, "auth", "policies")), "[]")
			if policies != tt.policies || got.at(t, "auth", "lease_duration") != tt.lease ||
				tt.warning != "" && !slices.Equal(got.at(t, "warnings").([]any), []any{tt.warning}) ||
				tt.warning == "" && got.at(t, "warnings") != nil {
				t.Errorf("got %d %s", got.status, got.body)
			}
			wantEntity := s.AddEntity("alice")
			if tt.token == "root" || tt.path == "create/any" { // an orphan has none
				wantEntity = ""
			}
			if got.text(t, "auth", "entity_id") != wantEntity {
				t.Errorf("entity %q, want %q", got.text(t, "auth", "entity_id"), wantEntity)
			}
		})
	}
}

func TestChildrenGoWithTheirParent(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	s.AddPolicy("minter", PathRule{Path: "auth/token/create", Capabilities: []string{"update", "sudo"}})
	parent := c.as(s.CreateToken([]string{"default", "minter"}, ""))
	child := parent.do("POST", "/v1/auth/token/create", `{}`).text(t, "auth", "client_token")
	grandchild := parent.as(child).do("POST", "/v1/auth/token/create", `{}`).text(t, "auth", "client_token")
	orphan := parent.do("POST", "/v1/auth/token/create", `{"no_parent":true}`).text(t, "auth", "client_token")
	parent.do("POST", "/v1/auth/token/revoke-self", nil).want(t, 204, "")
	for name, tt := range map[string]struct {
		token  string
		status int
	}{"child": {child, 403}, "grandchild": {grandchild, 403}, "orphan": {orphan, 200}} {
		t.Log(name)
		c.as(tt.token).do("GET", "/v1/auth/token/lookup-self", nil).wantStatus(t, tt.status)
	}
}

func TestNoTextShowsAToken(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	_, secret, err := s.EnrolTOTP("none", "alice")
	if err == nil || secret != "" {
		t.Errorf("enrolled for a method that is not there")
	}
	if got := c.as("hvs.VERYSECRET").do("GET", "/v1/secret/data/x", nil); strings.Contains(got.body, "VERYSECRET") {
		t.Errorf("the answer shows the token: %s", got.body)
	}
	if got := seed("ABC").String(); strings.Contains(got, "ABC") {
		t.Errorf("a seed prints as %q", got)
	}
}
