package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// ordinary requests, that have nothing to do with MFA: each one answered through
// stepup as by the server itself.
func ordinary(token, kv string) map[string]call {
	h := []string{tokenHeader(token)}
	and := func(more ...string) []string { return append(more, h...) }
	return map[string]call{
		"health":                   {"GET", "/v1/sys/health", nil, ""},
		"health HEAD":              {"HEAD", "/v1/sys/health", nil, ""},
		"health other code":        {"GET", "/v1/sys/health?activecode=299&standbyok", nil, ""},
		"seal status":              {"GET", "/v1/sys/seal-status", nil, ""},
		"lookup-self":              {"GET", "/v1/auth/token/lookup-self", h, ""},
		"bearer":                   {"GET", "/v1/auth/token/lookup-self", []string{"Authorization: Bearer " + token}, ""},
		"kv read":                  {"GET", "/v1/secret/data/" + kv, h, ""},
		"kv version":               {"GET", "/v1/secret/data/" + kv + "?version=1", h, ""},
		"kv missing":               {"GET", "/v1/secret/data/" + kv + "/none", h, ""},
		"kv HEAD":                  {"HEAD", "/v1/secret/data/" + kv, h, ""},
		"kv odd segment":           {"GET", "/v1/secret/data/" + kv + "%2Fsub", h, ""},
		"kv space and plus":        {"GET", "/v1/secret/data/" + kv + "%20a+b", h, ""},
		"kv LIST":                  {"LIST", "/v1/secret/metadata/", h, ""},
		"kv list by query":         {"GET", "/v1/secret/metadata?list=true", h, ""},
		"kv list, slash":           {"GET", "/v1/secret/metadata/?list=true", h, ""},
		"odd query":                {"GET", "/v1/secret/data/" + kv + "?a=1;b=2&c=%zz&&=x&version=1", h, ""},
		"metadata":                 {"GET", "/v1/secret/metadata/" + kv, h, ""},
		"mounts preflight":         {"GET", "/v1/sys/internal/ui/mounts/secret/" + kv, h, ""},
		"capabilities":             {"POST", "/v1/sys/capabilities-self", h, `{"paths":["secret/data/` + kv + `"]}`},
		"help":                     {"GET", "/v1/secret/data/x?help=1", h, ""},
		"no such mount":            {"GET", "/v1/nope/x", h, ""},
		"unsupported path":         {"GET", "/v1/sys/nope", h, ""},
		"unsupported method":       {"OPTIONS", "/v1/secret/data/" + kv, h, ""},
		"patch, wrong media type":  {"PATCH", "/v1/secret/data/" + kv, h, `{}`},
		"broken JSON":              {"POST", "/v1/secret/data/" + kv, h, `{"data"`},
		"check and set":            {"POST", "/v1/secret/data/" + kv, h, `{"options":{"cas":99},"data":{}}`},
		"no token":                 {"GET", "/v1/secret/data/" + kv, nil, ""},
		"bad token":                {"GET", "/v1/secret/data/" + kv, []string{tokenHeader("hvs.x")}, ""},
		"denied":                   {"GET", "/v1/sys/policies/acl/default", h, ""},
		"malformed X-Vault-MFA":    {"GET", "/v1/secret/data/" + kv, and("X-Vault-MFA: :1"), ""},
		"two X-Vault-MFA":          {"GET", "/v1/secret/data/" + kv, and("X-Vault-MFA: a", "X-Vault-MFA: b:1"), ""},
		"wrapped":                  {"GET", "/v1/secret/data/" + kv, and("X-Vault-Wrap-TTL: 60s"), ""},
		"bad wrap ttl":             {"GET", "/v1/secret/data/" + kv, and("X-Vault-Wrap-TTL: soon"), ""},
		"namespace":                {"GET", "/v1/secret/data/" + kv, and("X-Vault-Namespace: ns1"), ""},
		"gzip wish":                {"GET", "/v1/secret/data/" + kv, and("Accept-Encoding: gzip"), ""},
		"own forwarding headers":   {"GET", "/v1/secret/data/" + kv, and("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"), ""},
		"unknown MFA request":      {"POST", "/v1/sys/mfa/validate", nil, `{"mfa_request_id":"00000000-0000-0000-0000-000000000000","mfa_payload":{"x":["1"]}}`},
		"wrong password":           {"POST", "/v1/auth/userpass/login/nobody", nil, `{"password":"x"}`},
		"web page":                 {"GET", "/ui/", nil, ""},
		"open API, a large answer": {"GET", "/v1/sys/internal/specs/openapi", []string{tokenHeader("root")}, ""},
	}
}

// newReader makes a user with one secret of their own.
func newReader(t *testing.T) (token, kv string) {
	t.Helper()
	srv := needVault(t)
	kv = fmt.Sprintf("plain%d", users.Add(1))
	for _, path := range []string{kv, kv + "/sub", kv + " a+b"} {
		srv.write(t, "secret/data/"+path, map[string]any{"data": map[string]any{"path": path}})
	}
	policy := srv.policy(t, fmt.Sprintf(`
path "secret/data/%[1]s*" { capabilities = ["create", "read", "update", "patch", "delete"] }
path "secret/metadata/%[1]s*" { capabilities = ["read", "list", "delete"] }
path "secret/delete/%[1]s*" { capabilities = ["update"] }
path "secret/undelete/%[1]s*" { capabilities = ["update"] }
`, kv))
	return srv.newUser(t, policy).token(t), kv
}

// newRelay is a server, an agent that must not prompt, and a reader.
func newRelay(t *testing.T) (srv *server, a *agent, token, kv string) {
	t.Helper()
	srv = parallel(t)
	token, kv = newReader(t)
	return srv, startAgent(t, setup{responder: noPrompt(t)}), token, kv
}

func TestRelayAnswersAreVaults(t *testing.T) {
	srv, a, token, kv := newRelay(t)
	calls := ordinary(token, kv)
	if world.bao {
		delete(calls, "open API, a large answer") // it differs from call to call
	}
	each(t, calls, func(t *testing.T, c call) {
		for limit := time.Now().Add(patience); ; {
			direct, through := c.send(t, srv.addr), c.send(t, a.addr)
			diff := different(direct, through)
			if diff == "" {
				return
			}
			// Other tests may have changed the server in between, by a new mount say.
			if different(direct, c.send(t, srv.addr)) == "" || time.Now().After(limit) {
				t.Fatalf("%s %s: %s", c.method, c.target, diff)
			}
		}
	})
}

// Vault redirects what is not clean; stepup follows, so the app never sees it.
func TestRelayFollowsRedirects(t *testing.T) {
	srv, a, token, kv := newRelay(t)
	clean := "/v1/secret/data/" + kv
	h := []string{tokenHeader(token)}
	tests := []struct{ name, target, final string }{
		{"double slash", "/v1/secret//data/" + kv, clean},
		{"dots", "/v1/secret/x/../data/" + kv, clean},
		{"double slash and query", "/v1//secret/data/" + kv + "?version=1", clean + "?version=1"},
		{"the root page", "/", "/ui/"},
		{"not under v1", "/v2/x", "/ui/"},
	}
	for _, test := range tests {
		if world.bao && test.name == "not under v1" {
			continue // 404 there, no redirect
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			call{"GET", test.target, h, ""}.send(t, srv.addr).wantStatus(t, http.StatusTemporaryRedirect)
			want, have := call{"GET", test.final, h, ""}.send(t, srv.addr), call{"GET", test.target, h, ""}.send(t, a.addr)
			wantSame(t, want, have)
		})
	}
	t.Run("a body goes along", func(t *testing.T) {
		t.Parallel()
		g := call{"POST", "/v1/secret//data/" + kv + "/sub2", h, `{"data":{"a":"b"}}`}.send(t, a.addr)
		g.wantPlain(t, 200)
		equal(t, "the secret", srv.read(t, "secret/data/"+kv+"/sub2").Data["data"], any(map[string]any{"a": "b"}))
	})
}

func TestRelayManyAtOnce(t *testing.T) {
	srv, a, token, kv := newRelay(t)
	read := request("GET", "secret/data/"+kv, token)
	want := read.send(t, srv.addr)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				wantSame(t, want, read.send(t, a.addr))
			}
		})
	}
	all.Wait()
}

func TestRelayKV(t *testing.T) {
	srv, a, token, kv := newRelay(t)
	vault, _ := cli(t, a.addr, "VAULT_TOKEN="+token)
	at := kv + "/cli"
	vault.ok(t, "kv", "put", "-mount=secret", at, "a=1", "b=2")
	vault.ok(t, "kv", "patch", "-mount=secret", at, "b=3")
	out := vault.ok(t, "kv", "get", "-mount=secret", "-format=json", at).fields(t)
	if dig(out, "data", "data", "a") != "1" || dig(out, "data", "data", "b") != "3" {
		t.Errorf("vault kv get: %v", out)
	}
	contains(t, "vault kv list", vault.ok(t, "kv", "list", "-mount=secret", kv).stdout, "cli")
	vault.ok(t, "kv", "delete", "-mount=secret", at)
	if r := vault.run(t, "kv", "get", "-mount=secret", "-field=a", at); r.code == 0 {
		t.Errorf("vault kv get after the deletion: %s", r.stdout)
	}
	vault.ok(t, "kv", "undelete", "-mount=secret", "-versions=2", at)
	vault.ok(t, "kv", "get", "-mount=secret", at)
	vault.ok(t, "token", "lookup")
	vault.ok(t, "token", "capabilities", "secret/data/"+at)

	wrapping := vault.ok(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", "secret/data/"+at).stdout
	opened := vault.ok(t, "unwrap", "-format=json", strings.TrimSpace(wrapping)).fields(t)
	equal(t, "vault unwrap", dig(opened, "data", "data", "b"), any("3"))

	if r := vault.run(t, "kv", "get", "-mount=secret", "not-mine"); r.code != 2 || strings.Contains(r.stderr, "stepup: ") {
		t.Errorf("an ordinary denial: exit %d\n%s", r.code, r.stderr)
	}
	direct, _ := cli(t, srv.addr, "VAULT_TOKEN=root")
	through, _ := cli(t, a.addr, "VAULT_TOKEN=root")
	for _, args := range [][]string{{"status"}, {"secrets", "list", "-detailed"}, {"auth", "list"}, {"policy", "list"}, {"path-help", "secret"}, {"events", "subscribe", "kv*"}} {
		var want, have result
		// Policies and mounts come and go with the tests beside this one.
		for i := 0; i == 0 || (want != have && i < 10); i++ {
			want, have = direct.run(t, args...), through.run(t, args...)
			if args[0] == "policy" { // too many to be the same twice
				want.stdout, have.stdout = "", ""
			}
		}
		if want != have {
			t.Errorf("vault %q: %+v, the server says %+v", args, have, want)
		}
	}
}

func TestRelayCurl(t *testing.T) {
	srv, a, token, kv := newRelay(t)
	curl := program{path: installed(t, "curl"), env: cleanEnv(t.TempDir())}
	tests := map[string][]string{
		"read":          {"-H", tokenHeader(token), "{}/v1/secret/data/" + kv},
		"head":          {"--head", "{}/v1/sys/health"},
		"path as is":    {"--path-as-is", "-L", "-H", tokenHeader(token), "{}/v1/secret/x/../data/" + kv},
		"expect 100":    {"-H", "Expect: 100-continue", "-H", tokenHeader(token), "-d", `{"data":{"a":"b"}}`, "{}/v1/secret/data/" + kv + "/curl"},
		"chunked":       {"-H", "Transfer-Encoding: chunked", "-H", tokenHeader(token), "-d", `{"data":{"a":"b"}}`, "{}/v1/secret/data/" + kv + "/curl2"},
		"http 1.0":      {"--http1.0", "-H", tokenHeader(token), "{}/v1/secret/data/" + kv},
		"no user agent": {"-A", "", "-H", tokenHeader(token), "{}/v1/secret/data/" + kv},
	}
	each(t, tests, func(t *testing.T, args []string) {
		ask := func(addr string) string {
			with := []string{"-sS", "--max-time", "30", "-o", "-", "-w", "\n%{http_code} %{content_type}"}
			for _, arg := range args {
				with = append(with, strings.ReplaceAll(arg, "{}", addr))
			}
			return curl.ok(t, with...).stdout
		}
		want, have := lastLine(ask(srv.addr)), lastLine(ask(a.addr))
		if want != have || !strings.HasPrefix(have, "200 ") {
			t.Errorf("curl %q: %q, the server says %q", args, have, want)
		}
	})
	t.Run("unix socket", func(t *testing.T) {
		t.Parallel()
		out := curl.ok(t, "-sS", "--unix-socket", a.socket, "-H", tokenHeader(token), "http://vault/v1/secret/data/"+kv).fields(t)
		equal(t, "the secret", dig(out, "data", "data", "path"), any(kv))
	})
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }
