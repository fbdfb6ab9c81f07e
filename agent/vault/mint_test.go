package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func TestMintRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		base  string
		mint  MintRequest
		path  string
		body  string
		lines []string // of X-Vault-MFA
	}{
		{
			name: "nothing but the path",
			mint: MintRequest{Path: "auth/token/create/prod-stepup"},
			path: "/v1/auth/token/create/prod-stepup",
			body: `{}`,
		},
		{
			name: "everything",
			base: "/behind/vault",
			mint: MintRequest{
				Path: "auth/token/create", Namespace: "ns1/ns2", Policies: []string{"prod-stepup", "b"},
				TTL: 5 * time.Minute, NumUses: 3, NoParent: true,
				Credentials: []mfa.Credential{{Method: "corp_totp", Passcode: "123456"}},
			},
			path:  "/behind/vault/v1/auth/token/create",
			body:  `{"no_parent":true,"num_uses":3,"policies":["prod-stepup","b"],"ttl":"300s"}`,
			lines: []string{"corp_totp:123456"},
		},
		{
			name: "a line for each method, written as it is",
			mint: MintRequest{Path: "p", Credentials: []mfa.Credential{
				{Method: "corp_duo", Passcode: "passcode=1,2"}, {Method: "corp_okta"}, {Method: "corp_totp", Passcode: "12:34"},
			}},
			path:  "/v1/p",
			body:  `{}`,
			lines: []string{"corp_duo:passcode=1,2", "corp_okta", "corp_totp:12:34"},
		},
		{
			name: "part of a second is a second",
			mint: MintRequest{Path: "p", TTL: 1500 * time.Millisecond},
			path: "/v1/p",
			body: `{"ttl":"2s"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := record(200, `{}`)
			c := newClient(t, serve(t, rec)+tt.base)
			tt.mint.Token = testToken
			resp, err := c.Mint(t.Context(), tt.mint)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got := rec.only(t)
			if got.Method != http.MethodPost || got.Path != tt.path || got.Body != tt.body {
				t.Errorf("got %s %s %s\nwant POST %s %s", got.Method, got.Path, got.Body, tt.path, tt.body)
			}
			if diff := cmp.Diff(tt.lines, got.Header.Values("X-Vault-MFA")); diff != "" {
				t.Errorf("X-Vault-MFA (-want +got):\n%s", diff)
			}
			wantHeader(t, got.Header, "X-Vault-Token", testToken.Reveal())
			wantHeader(t, got.Header, "X-Vault-Namespace", tt.mint.Namespace)
			wantHeader(t, got.Header, "X-Vault-Request", "true")
		})
	}
}

func TestLoginRequest(t *testing.T) {
	t.Parallel()
	rec := record(200, `{}`)
	c := newClient(t, serve(t, rec))
	resp, err := c.Login(t.Context(), LoginRequest{Path: "auth/userpass/login/alice", Namespace: "ns1", Password: "p\"w"})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	got := rec.only(t)
	if got.Method != http.MethodPost || got.Path != "/v1/auth/userpass/login/alice" || got.Body != `{"password":"p\"w"}` {
		t.Errorf("sent %s %s %s", got.Method, got.Path, got.Body)
	}
	wantHeader(t, got.Header, "X-Vault-Namespace", "ns1")
	if _, sent := got.Header["X-Vault-Token"]; sent {
		t.Error("a login carries a token")
	}
	if node := Node(resp); node != "http://"+resp.Request.URL.Host || node == "http://" {
		t.Errorf("Node = %q", node)
	}
}

// callers are the two calls whose answers are handed on.
func callers() map[string]func(context.Context, *Client) (*http.Response, error) {
	return map[string]func(context.Context, *Client) (*http.Response, error){
		"mint": func(ctx context.Context, c *Client) (*http.Response, error) {
			return c.Mint(ctx, MintRequest{Path: "auth/token/create", Token: testToken})
		},
		"login": func(ctx context.Context, c *Client) (*http.Response, error) {
			return c.Login(ctx, LoginRequest{Path: "auth/userpass/login/a", Password: "pw"})
		},
	}
}

func TestAnswersAreHandedOn(t *testing.T) {
	t.Parallel()
	for name, call := range callers() {
		for status, body := range map[int]string{200: `{"auth":{"client_token":"x"}}`, 400: `{"errors":["a"]}`, 403: "", 503: "<html>\x00\xff"} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				t.Parallel()
				rec := record(status, body)
				rec.header = http.Header{"X-Vault-Index": {"abc"}}
				resp, err := call(t.Context(), newClient(t, serve(t, rec)))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != status || string(got) != body || Index(resp) != "abc" {
					t.Errorf("got %d %q, index %q, error %v", resp.StatusCode, got, Index(resp), err)
				}
				rec.only(t)
			})
		}
	}
}

// A second mint is a second push, or a second token; a second login spends an
// attempt of the person's account.
func TestMintAndLoginAreSentOnce(t *testing.T) {
	t.Parallel()
	for name, call := range callers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = fmt.Fprintf(w, `{"server_time_utc":%d}`, time.Now().Unix())
					return
				}
				calls.Add(1)
				if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
					_ = conn.Close()
				}
			}))
			c := newClient(t, address)
			if _, err := c.Health(t.Context()); err != nil { // net/http repeats only on a connection that was used before
				t.Fatal(err)
			}
			if resp, err := call(t.Context(), c); err == nil {
				_ = resp.Body.Close()
				t.Fatal("no error")
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// A push may take as long as the limit of the client says, and no longer.
func TestMintAndLoginEnd(t *testing.T) {
	t.Parallel()
	for name, call := range callers() {
		t.Run(name+" with its context", func(t *testing.T) {
			t.Parallel()
			address, arrived, gone := hung(t)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-arrived
				cancel()
			}()
			if resp, err := call(ctx, newClient(t, address)); !errors.Is(err, context.Canceled) {
				if err == nil {
					_ = resp.Body.Close()
				}
				t.Errorf("error = %v, want %v", err, context.Canceled)
			}
			<-gone // Vault takes the push back
		})
		t.Run(name+" at its limit", func(t *testing.T) {
			t.Parallel()
			address, arrived, gone := hung(t)
			resp, err := call(t.Context(), newClientWith(t, address, Config{Timeout: 50 * time.Millisecond}))
			if err == nil {
				_ = resp.Body.Close()
			}
			if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
				t.Errorf("error = %v, want a timeout", err)
			}
			left(arrived, gone)
		})
	}
}

func TestRequestsPrintNoSecret(t *testing.T) {
	t.Parallel()
	mint := MintRequest{Path: "p", Token: "hvs.CANARY", Credentials: []mfa.Credential{{Method: "m", Passcode: "CANARY"}}}
	login := LoginRequest{Path: "p", Password: "CANARY"}
	k := call{method: "POST", path: "p", Token: "hvs.CANARY", credentials: mint.Credentials, body: map[string]any{"password": "CANARY"}}
	for _, v := range []any{mint, &mint, login, &login, k, &k, Auth{Token: "hvs.CANARY"}, []any{mint, login, k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if shown := fmt.Sprintf(verb, v); strings.Contains(shown, "CANARY") {
				t.Errorf("%T with %s: a secret is printed", v, verb)
			}
		}
	}
}

func TestParseAuth(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		body string
		want Auth
		err  string // a part of it; "" means none
	}{
		{
			name: "service token",
			body: `{"auth":{"client_token":"hvs.x","accessor":"a","entity_id":"e","lease_duration":300,"renewable":true,"num_uses":2}}`,
			want: Auth{Token: "hvs.x", Accessor: "a", EntityID: "e", TTL: 5 * time.Minute, Uses: 2, Renewable: true},
		},
		{name: "root token", body: `{"auth":{"client_token":"hvs.x","lease_duration":0}}`, want: Auth{Token: "hvs.x"}},
		{name: "batch token", body: `{"auth":{"client_token":"hvb.x","lease_duration":60,"num_uses":0}}`, want: Auth{Token: "hvb.x", TTL: time.Minute}},
		{name: "held login", body: `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r"}}}`, err: "has no token"},
		{name: "wrapped", body: `{"auth":null,"wrap_info":{"token":"hvs.CANARY"}}`, err: "has no token"},
		{name: "a secret", body: `{"data":{"client_token":"hvs.CANARY"}}`, err: "has no token"},
		{name: "errors", body: `{"errors":["hvs.CANARY"]}`, err: "has no token"},
		{name: "nothing", body: ``, err: "has no token"},
		{name: "null", body: `null`, err: "has no token"},
		{name: "no JSON", body: `hvs.CANARY`, err: "JSON"},
		{name: "HTML", body: `<html>hvs.CANARY`, err: "JSON"},
		{name: "cut short", body: `{"auth":{"client_token":"hvs.CANARY"`, err: "JSON"},
		{name: "a header in the token", body: `{"auth":{"client_token":"hvs.CANARY\r\nX-Evil: 1"}}`, err: "characters"},
		{name: "a blank in the token", body: `{"auth":{"client_token":"hvs. CANARY"}}`, err: "characters"},
		{name: "not ASCII", body: `{"auth":{"client_token":"hvs.CANARYé"}}`, err: "characters"},
		{name: "negative lease", body: `{"auth":{"client_token":"hvs.CANARY","lease_duration":-1}}`, err: "impossible"},
		{name: "endless lease", body: `{"auth":{"client_token":"hvs.CANARY","lease_duration":9223372036854775807}}`, err: "impossible"},
		{name: "negative uses", body: `{"auth":{"client_token":"hvs.CANARY","num_uses":-1}}`, err: "impossible"},
		{name: "uses are no number", body: `{"auth":{"client_token":"hvs.CANARY","num_uses":"CANARY"}}`, err: "uses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseAuth([]byte(tt.body))
			if got != tt.want {
				t.Errorf("got %+v (token %q), want %+v", got, got.Token.Reveal(), tt.want)
			}
			switch {
			case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %q", err, tt.err)
			case err != nil && strings.Contains(err.Error(), "CANARY"):
				t.Errorf("the error quotes the body: %v", err)
			}
		})
	}
}

// What is taken for a token can be sent as one, and lasts a sensible time.
func FuzzParseAuth(f *testing.F) {
	f.Add(`{"auth":{"client_token":"hvs.x","accessor":"a","lease_duration":300,"num_uses":2}}`)
	f.Add(`{"auth":{"client_token":"\u0000","lease_duration":1e3}}`)
	f.Add(`{"auth":{}}{"auth":{"client_token":"x"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		a, err := ParseAuth([]byte(body))
		if err != nil {
			if a != (Auth{}) {
				t.Fatal("a token comes with an error")
			}
			return
		}
		if a.Token == "" || a.TTL < 0 || a.Uses < 0 {
			t.Fatalf("impossible: %+v", a)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://vault.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", a.Token.Reveal())
		var sent strings.Builder
		if err := req.Header.Write(&sent); err != nil || sent.String() != "X-Vault-Token: "+a.Token.Reveal()+"\r\n" {
			t.Fatalf("it is not sent as it is: %q", sent.String())
		}
	})
}
