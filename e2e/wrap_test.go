package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestLoginWrapped(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	a := startAgent(t, setup{person: typist(t, c)})
	vault, _ := cli(t, a.addr)
	out := vault.ok(t, u.loginArgs("-wrap-ttl=60s", "-no-store", "-format=json")...).fields(t)
	wrapping, _ := dig(out, "wrap_info", "token").(string)
	if wrapping == "" || dig(out, "auth") != nil {
		t.Fatalf("not wrapped: %v", out)
	}
	opened := vault.ok(t, "unwrap", "-format=json", wrapping).fields(t)
	u.wantToken(t, dig(opened, "auth", "client_token"))

	// The CLI unwraps by itself when it is to store the token.
	again := vault.ok(t, u.loginArgs("-wrap-ttl=60s", "-format=json")...).fields(t)
	u.wantToken(t, dig(again, "auth", "client_token"))
}

// What an app asked to have wrapped is opened by the app, once: a relay that
// looks inside to find a challenge has used it up. From outside, most of these
// look as a wrapped challenge does.
func TestWrappingIsNotSpent(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	_, kv := newReader(t)
	u := srv.newUser(t)
	role := fmt.Sprintf("approle%d", users.Add(1))
	srv.write(t, "sys/auth/"+role, map[string]any{"type": "approle"})
	srv.write(t, "auth/"+role+"/role/login", map[string]any{"token_policies": "default"})
	a := startAgent(t, setup{person: nobody(t)})
	root := tokenHeader("root")
	tests := map[string]call{
		"a secret":                           {"GET", "/v1/secret/data/" + kv, []string{root}, ""},
		"an auth configuration":              {"GET", "/v1/auth/userpass/users/" + u.name, []string{root}, ""},
		"a new token":                        {"POST", "/v1/auth/token/create", []string{root}, "{}"},
		"a login without MFA":                {"POST", "/v1/auth/userpass/login/" + u.name, nil, fmt.Sprintf(`{"password":%q}`, u.password)},
		"a secret ID of a role called login": {"POST", "/v1/auth/" + role + "/role/login/secret-id", []string{root}, "{}"},
		"a role called login":                {"GET", "/v1/auth/" + role + "/role/login", []string{root}, ""},
		"data wrapped by hand":               {"POST", "/v1/sys/wrapping/wrap", []string{root}, `{"a":"b"}`},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.header = append([]string{"X-Vault-Wrap-TTL: 60s"}, c.header...)
			g := c.send(t, a.addr)
			g.wantPlain(t, 200)
			token, _ := dig(g.json(t), "wrap_info", "token").(string)
			opened := call{"POST", "/v1/sys/wrapping/unwrap", []string{tokenHeader(token)}, ""}.send(t, a.addr)
			opened.wantPlain(t, 200)
			if strings.Contains(opened.body, `"data":null`) && strings.Contains(opened.body, `"auth":null`) {
				t.Errorf("nothing inside: %s", opened.body)
			}
		})
	}
}
