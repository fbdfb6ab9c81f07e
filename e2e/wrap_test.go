package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestLoginWrapped(t *testing.T) {
	u, c := parallel(t).newMFAUser(t)
	a := startAgent(t, setup{responder: typist(t, c)})
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
	srv := parallel(t)
	_, kv := newReader(t)
	u := srv.newUser(t)
	role := fmt.Sprintf("approle%d", users.Add(1))
	srv.write(t, "sys/auth/"+role, map[string]any{"type": "approle"})
	srv.write(t, "auth/"+role+"/role/login", map[string]any{"token_policies": "default"})
	a := startAgent(t, setup{responder: noPrompt(t)})
	tests := map[string]call{
		"a secret":                           request("GET", "secret/data/"+kv, "root"),
		"an auth configuration":              request("GET", "auth/userpass/users/"+u.name, "root"),
		"a new token":                        request("POST", "auth/token/create", "root").with("{}"),
		"a login without MFA":                request("POST", "auth/userpass/login/"+u.name, "").with(fmt.Sprintf(`{"password":%q}`, u.password)),
		"a secret ID of a role called login": request("POST", "auth/"+role+"/role/login/secret-id", "root").with("{}"),
		"a role called login":                request("GET", "auth/"+role+"/role/login", "root"),
		"data wrapped by hand":               request("POST", "sys/wrapping/wrap", "root").with(`{"a":"b"}`),
	}
	each(t, tests, func(t *testing.T, c call) {
		c.header = append([]string{"X-Vault-Wrap-TTL: 60s"}, c.header...)
		g := c.send(t, a.addr)
		g.wantPlain(t, 200)
		opened := g.unwrap(t, a.addr)
		if strings.Contains(opened.body, `"data":null`) && strings.Contains(opened.body, `"auth":null`) {
			t.Errorf("nothing inside: %s", opened.body)
		}
	})
}
