package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/e2e/pingid"
)

// These tests do without stepup: they hold the real server, and the stubs beside
// it, to what stepup and the embedded development Vault rely on.

// requirement is the MFA requirement of a login that was answered with one.
func requirement(t *testing.T, g got) (id string) {
	t.Helper()
	id, _ = dig(g.json(t), "auth", "mfa_requirement", "mfa_request_id").(string)
	if g.status != 200 || id == "" {
		t.Fatalf("no requirement: %d %s", g.status, g.body)
	}
	return id
}

func validate(t *testing.T, addr, request, method, passcode string, header ...string) got {
	t.Helper()
	return call{"POST", "/v1/sys/mfa/validate", header,
		fmt.Sprintf(`{"mfa_request_id":%q,"mfa_payload":{%q:[%q]}}`, request, method, passcode)}.send(t, addr)
}

func TestFactsOfLoginMFA(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	name := u.enforce(t, c.id)
	failed := fmt.Sprintf("failed to satisfy enforcement %s. error: 2 errors occurred:\n\t* failed to validate TOTP passcode\n\t"+
		"* login MFA validation failed for methodID: [%s]\n\n", name, c.id)
	refused := func(what string, g got, status int, text string) {
		t.Helper()
		if errs := g.errors(t); g.status != status || len(errs) != 1 || errs[0] != text {
			t.Errorf("%s: status %d, errors %q; want %d, %q", what, g.status, errs, status, text)
		}
	}
	id := requirement(t, u.login(t, srv.addr))
	refused("wrong code", validate(t, srv.addr, id, c.id, c.wrong()), 403, failed)
	fresh := c.next()
	if g := validate(t, srv.addr, id, c.id, fresh); g.status != 200 {
		t.Fatalf("the request id is not usable after a wrong code: %d %s", g.status, g.body)
	}
	refused("used request id", validate(t, srv.addr, id, c.id, c.wrong()), 400, "invalid request ID")
	id = requirement(t, u.login(t, srv.addr))
	refused("used code", validate(t, srv.addr, id, c.id, fresh), 403, failed)
	if g := validate(t, srv.addr, id, c.id, c.next()); g.status != 200 {
		t.Errorf("the next code, before its time: %d %s", g.status, g.body)
	}
	refused("single phase, wrong code", u.login(t, srv.addr, "X-Vault-MFA: "+c.name+":"+c.wrong()), 403, "permission denied")
}

// X-Vault-Wrap-TTL on a login wraps the requirement itself, and the warning with
// it; on the validate call it wraps the token.
func TestFactsOfWrapping(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	wrapped := u.login(t, srv.addr, "X-Vault-Wrap-TTL: 60s").json(t)
	token, _ := dig(wrapped, "wrap_info", "token").(string)
	if token == "" || wrapped["auth"] != nil || wrapped["warnings"] != nil || dig(wrapped, "wrap_info", "wrapped_accessor") != nil {
		t.Fatalf("the wrapped requirement: %v", wrapped)
	}
	opened := call{"POST", "/v1/sys/wrapping/unwrap", []string{tokenHeader(token)}, ""}.send(t, srv.addr)
	id := requirement(t, opened)
	if len(texts(opened.json(t)["warnings"])) != 1 {
		t.Errorf("the warning is not inside: %s", opened.body)
	}
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
	listed := call{"GET", "/v1/auth/userpass/users/" + u.name, []string{tokenHeader("root"), "X-Vault-Wrap-TTL: 60s"}, ""}.send(t, srv.addr).json(t)
	if dig(listed, "wrap_info", "token") == nil || dig(listed, "wrap_info", "wrapped_accessor") != nil {
		t.Errorf("a wrapped read below auth/: %v", listed)
	}
}

func TestFactsOfRequests(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	token, kv := newReader(t)
	h := []string{tokenHeader(token)}
	tests := []struct {
		name   string
		call   call
		status int
		errors string // the only one; "" when there is none to read
		header string
	}{
		{"HEAD of a secret, root", call{"HEAD", "/v1/secret/data/" + kv, []string{tokenHeader("root")}, ""}, 405, "", ""},
		{"HEAD of a secret that may be read", call{"HEAD", "/v1/secret/data/" + kv, h, ""}, 403, "", ""},
		{"HEAD of health", call{"HEAD", "/v1/sys/health", nil, ""}, 200, "", ""},
		{"//", call{"GET", "/v1/secret//data/" + kv, h, ""}, 307, "", "/v1/secret/data/" + kv},
		{"..", call{"GET", "/v1/secret/x/../data/" + kv, h, ""}, 307, "", "/v1/secret/data/" + kv},
		{"%2F is a slash", call{"GET", "/v1/secret/data/" + kv + "%2Fsub", h, ""}, 200, "", ""},
		{"no token", call{"GET", "/v1/secret/data/" + kv, nil, ""}, 403, "permission denied", ""},
		{"bad token", call{"GET", "/v1/secret/data/" + kv, []string{tokenHeader("x")}, ""}, 403,
			"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n", ""},
		{"denied", call{"GET", "/v1/secret/data/other", h, ""}, 403, "1 error occurred:\n\t* permission denied\n\n", ""},
		{"unknown request id", call{"POST", "/v1/sys/mfa/validate", nil,
			`{"mfa_request_id":"00000000-0000-0000-0000-000000000000","mfa_payload":{"x":["1"]}}`}, 400, "invalid request ID", ""},
		{"community has no events", call{"GET", "/v1/sys/events/subscribe/kv", []string{tokenHeader("root")}, ""}, 404,
			"1 error occurred:\n\t* unsupported path\n\n", ""},
	}
	for _, test := range tests {
		g := test.call.send(t, srv.addr)
		if g.status != test.status || g.header.Get("Location") != test.header {
			t.Errorf("%s: status %d, Location %q; want %d, %q", test.name, g.status, g.header.Get("Location"), test.status, test.header)
			continue
		}
		if test.errors == "" {
			continue
		}
		if errs := g.errors(t); len(errs) != 1 || errs[0] != test.errors {
			t.Errorf("%s: errors %q, want %q", test.name, errs, test.errors)
		}
	}
}

func TestFactsOfPush(t *testing.T) {
	t.Parallel()
	srv := needVault(t)
	u := srv.newUser(t)
	method, _ := u.pingid(t)
	u.enforce(t, method)
	says := make(chan pingid.Decision, 1)
	world.ping.Give(u.name, func(context.Context, string) pingid.Decision { return <-says })
	id := requirement(t, u.login(t, srv.addr))
	says <- pingid.Decision{Message: "not me"}
	g := validate(t, srv.addr, id, method, "")
	if errs := g.errors(t); g.status != http.StatusForbidden || !strings.Contains(errs[0], "\n\t* not me\n\t* login MFA validation failed") {
		t.Errorf("refused: %d %q", g.status, errs)
	}
	says <- pingid.Decision{Approve: true}
	if g := validate(t, srv.addr, id, method, ""); g.status != http.StatusOK {
		t.Errorf("approved: %d %s", g.status, g.body)
	}
}

// A Vault that was sealed has forgotten its open logins.
func TestFactsOfSealing(t *testing.T) {
	t.Parallel()
	srv, key := startRaft(t)
	srv.write(t, "sys/auth/userpass", map[string]any{"type": "userpass"})
	u := srv.newUser(t)
	c := u.totp(t)
	u.enforce(t, c.id)
	id := requirement(t, u.login(t, srv.addr))
	if err := srv.root.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	srv.unseal(t, key)
	if g := validate(t, srv.addr, id, c.id, c.next()); g.status != 400 || g.errors(t)[0] != "invalid request ID" {
		t.Errorf("status %d\n%s", g.status, g.body)
	}
}
