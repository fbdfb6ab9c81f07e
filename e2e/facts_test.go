package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// These tests do without stepup: they hold the real server, and the stubs beside
// it, to what stepup and the embedded development Vault rely on.

// requirement is the MFA requirement of a login that was answered with one.
func requirement(t *testing.T, g got) (id string) {
	t.Helper()
	id = g.text(t, "auth", "mfa_requirement", "mfa_request_id")
	if g.status != 200 || id == "" {
		t.Fatalf("no requirement: %d %s", g.status, g.body)
	}
	return id
}

func validate(t *testing.T, addr, id, method, passcode string, header ...string) got {
	t.Helper()
	body := fmt.Sprintf(`{"mfa_request_id":%q,"mfa_payload":{%q:[%q]}}`, id, method, passcode)
	return request("POST", "sys/mfa/validate", "", header...).with(body).send(t, addr)
}

func TestFactsOfLoginMFA(t *testing.T) {
	srv := parallel(t)
	u := srv.newUser(t)
	c := u.totp(t)
	name := u.enforce(t, c.id)
	failed := fmt.Sprintf("failed to satisfy enforcement %s. error: 2 errors occurred:\n\t* %s\n\t"+
		"* login MFA validation failed for methodID: [%s]\n\n", name, byServer("failed to validate TOTP passcode", "MFA credentials not supplied or incorrect"), c.id)
	id := requirement(t, u.login(t, srv.addr))
	validate(t, srv.addr, id, c.id, c.wrong()).wantErrors(t, 403, failed) // wrong code
	fresh := c.next()
	validate(t, srv.addr, id, c.id, fresh).wantStatus(t, 200)                           // usable after a wrong code
	validate(t, srv.addr, id, c.id, c.wrong()).wantErrors(t, 400, "invalid request ID") // used request id
	id = requirement(t, u.login(t, srv.addr))
	validate(t, srv.addr, id, c.id, fresh).wantErrors(t, 403, failed)                                  // used code
	validate(t, srv.addr, id, c.id, c.next()).wantStatus(t, 200)                                       // the next code, before its time
	u.login(t, srv.addr, "X-Vault-MFA: "+c.name+":"+c.wrong()).wantErrors(t, 403, "permission denied") // single phase, wrong code
}

// X-Vault-Wrap-TTL on a login wraps the requirement itself, and the warning with
// it; on the validate call it wraps the token.
func TestFactsOfWrapping(t *testing.T) {
	srv := parallel(t)
	u, c := srv.newMFAUser(t)
	wrapped := u.login(t, srv.addr, "X-Vault-Wrap-TTL: 60s").json(t)
	token, _ := dig(wrapped, "wrap_info", "token").(string)
	if token == "" || wrapped["auth"] != nil || wrapped["warnings"] != nil || dig(wrapped, "wrap_info", "wrapped_accessor") != nil {
		t.Fatalf("the wrapped requirement: %v", wrapped)
	}
	opened := request("POST", "sys/wrapping/unwrap", token).send(t, srv.addr)
	id := requirement(t, opened)
	equal(t, "warnings inside", len(texts(opened.json(t)["warnings"])), 1)
	final := validate(t, srv.addr, id, c.id, c.next(), "X-Vault-Wrap-TTL: 60s").json(t)
	if dig(final, "wrap_info", "wrapped_accessor") == nil || final["auth"] != nil {
		t.Errorf("the wrapped token: %v", final)
	}
	// So a finished login shows by its wrapped_accessor from outside. Something
	// else without one need not be a held login: opening it would spend it.
	plain := srv.newUser(t).login(t, srv.addr, "X-Vault-Wrap-TTL: 60s").json(t)
	if dig(plain, "wrap_info", "wrapped_accessor") == nil {
		t.Errorf("a wrapped login without MFA: %v", plain)
	}
	listed := request("GET", "auth/userpass/users/"+u.name, "root", "X-Vault-Wrap-TTL: 60s").send(t, srv.addr).json(t)
	if dig(listed, "wrap_info", "token") == nil || dig(listed, "wrap_info", "wrapped_accessor") != nil {
		t.Errorf("a wrapped read below auth/: %v", listed)
	}
}

func TestFactsOfRequests(t *testing.T) {
	srv := parallel(t)
	token, kv := newReader(t)
	tests := []struct {
		name   string
		call   call
		status int
		errors string // the only one; "" when there is none to read
		header string
	}{
		{"HEAD of a secret, root", request("HEAD", "secret/data/"+kv, "root"), 405, "", ""},
		{"HEAD of a secret that may be read", request("HEAD", "secret/data/"+kv, token), 403, "", ""},
		{"HEAD of health", request("HEAD", "sys/health", ""), 200, "", ""},
		{"//", request("GET", "secret//data/"+kv, token), 307, "", "/v1/secret/data/" + kv},
		{"..", request("GET", "secret/x/../data/"+kv, token), 307, "", "/v1/secret/data/" + kv},
		{"%2F is a slash", request("GET", "secret/data/"+kv+"%2Fsub", token), 200, "", ""},
		{"no token", request("GET", "secret/data/"+kv, ""), 403, "permission denied", ""},
		{"bad token", request("GET", "secret/data/"+kv, "x"), 403, byServer("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n", "permission denied"), ""},
		{"denied", request("GET", "secret/data/other", token), 403, "1 error occurred:\n\t* permission denied\n\n", ""},
		{"unknown request id", request("POST", "sys/mfa/validate", "").with(
			`{"mfa_request_id":"00000000-0000-0000-0000-000000000000","mfa_payload":{"x":["1"]}}`), 400, "invalid request ID", ""},
		{"community has no events", request("GET", "sys/events/subscribe/kv", "root"), 404,
			"1 error occurred:\n\t* unsupported path\n\n", ""},
	}
	for _, test := range tests {
		g := test.call.send(t, srv.addr)
		if g.status != test.status || g.header.Get("Location") != test.header {
			t.Errorf("%s: status %d, Location %q; want %d, %q", test.name, g.status, g.header.Get("Location"), test.status, test.header)
			continue
		}
		if test.errors != "" {
			t.Log(test.name)
			g.wantErrors(t, test.status, test.errors)
		}
	}
}

func TestFactsOfPush(t *testing.T) {
	srv := parallel(t)
	u := srv.newUser(t)
	m := pingPhone(t, u)
	u.enforce(t, m.id)
	id := requirement(t, u.login(t, srv.addr))
	try := func(says phoneAnswer) got {
		answered := async(func() got { return validate(t, srv.addr, id, m.id, "") })
		m.say(t, says)
		return <-answered
	}
	g := try(refuses)
	if errs := g.errors(t); g.status != http.StatusForbidden || !strings.Contains(errs[0], "\n\t* not me\n\t* login MFA validation failed") {
		t.Errorf("refused: %d %q", g.status, errs)
	}
	try(approves).wantStatus(t, http.StatusOK)
}

// A Vault that was sealed has forgotten its open logins.
func TestFactsOfSealing(t *testing.T) {
	t.Parallel()
	srv, key := startRaft(t)
	srv.write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	u, c := srv.newMFAUser(t)
	id := requirement(t, u.login(t, srv.addr))
	check(t, srv.root.Sys().Seal())
	srv.unseal(t, key)
	validate(t, srv.addr, id, c.id, c.next()).wantErrors(t, 400, "invalid request ID")
}
