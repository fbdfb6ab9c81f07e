package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// handed are the calls whose answers are handed on.
func handed() map[string]func(context.Context, *Client) (*http.Response, error) {
	return map[string]func(context.Context, *Client) (*http.Response, error){
		"mint": func(ctx context.Context, c *Client) (*http.Response, error) {
			return c.Mint(ctx, MintRequest{Path: "auth/token/create", Token: testToken})
		},
		"login": func(ctx context.Context, c *Client) (*http.Response, error) {
			return c.Login(ctx, LoginRequest{Path: "auth/userpass/login/a", Password: "pw"})
		},
		"validate": func(ctx context.Context, c *Client) (*http.Response, error) {
			return c.Validate(ctx, mfa.Challenge{RequestID: "r"}, map[string][]string{"m": nil})
		},
		"release": func(ctx context.Context, c *Client) (*http.Response, error) {
			return c.Release(ctx, Held{Caller: testToken, Wrapping: "hvs.wrap"})
		},
	}
}

// read are the calls whose answers are read.
func read() map[string]func(context.Context, *Client) (any, error) {
	return map[string]func(context.Context, *Client) (any, error){
		"capabilities": func(ctx context.Context, c *Client) (any, error) {
			return c.Capabilities(ctx, testToken, "ns1", "kv/data/x")
		},
		"unwrap": func(ctx context.Context, c *Client) (any, error) {
			body, err := c.Unwrap(ctx, testToken, "ns1")
			return string(body), err
		},
		"lookup": func(ctx context.Context, c *Client) (any, error) { return c.LookupSelf(ctx, testToken, "ns1") },
		"revoke": func(ctx context.Context, c *Client) (any, error) { return "", c.RevokeSelf(ctx, testToken, "ns1") },
		"group":  func(ctx context.Context, c *Client) (any, error) { return c.ControlGroup(ctx, testToken, "ns1", "a") },
		"enrol": func(ctx context.Context, c *Client) (any, error) {
			return c.SelfEnrol(ctx, mfa.Challenge{RequestID: "r", Namespace: "ns1"}, "m1")
		},
		"number": func(ctx context.Context, c *Client) (any, error) {
			number, known, err := c.OktaNumber(ctx, NumberRequest{Mount: "auth/okta", Nonce: "n", Namespace: "ns1"})
			return fmt.Sprint(number, known), err
		},
		"mount": func(ctx context.Context, c *Client) (any, error) { return c.Mount(ctx, testToken, "ns1", "kv/prod/") },
		"health": func(ctx context.Context, c *Client) (any, error) {
			h, err := c.Health(ctx)
			h.Skew = h.Skew.Round(time.Hour) // the bodies are older than the answers by the time the tests take
			return h, err
		},
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	calls := handed()
	for name, call := range read() {
		calls[name] = func(ctx context.Context, c *Client) (*http.Response, error) {
			_, err := call(ctx, c)
			return nil, err
		}
	}
	minting := func(name string, r MintRequest) string {
		r.Token = testToken
		calls[name] = func(ctx context.Context, c *Client) (*http.Response, error) { return c.Mint(ctx, r) }
		return name
	}
	validating := func(name string, ch mfa.Challenge, payload map[string][]string) string {
		calls[name] = func(ctx context.Context, c *Client) (*http.Response, error) {
			before := fmt.Sprint(payload)
			defer func() {
				if after := fmt.Sprint(payload); after != before {
					t.Errorf("payload was changed to %s", after)
				}
			}()
			return c.Validate(ctx, ch, payload)
		}
		return name
	}
	calls["a login in a namespace"] = func(ctx context.Context, c *Client) (*http.Response, error) {
		resp, err := c.Login(ctx, LoginRequest{Path: "auth/userpass/login/alice", Namespace: "ns1", Password: "p\"w"})
		if err == nil && (Node(resp) != "http://"+resp.Request.URL.Host || Node(resp) == "http://") {
			t.Errorf("Node = %q", Node(resp))
		}
		return resp, err
	}
	none, own := http.Header{}, http.Header{"X-Vault-Token": {testToken.Reveal()}}
	ns1, ownNS1 := http.Header{"X-Vault-Namespace": {"ns1"}}, http.Header{"X-Vault-Token": own["X-Vault-Token"], "X-Vault-Namespace": {"ns1"}}
	tests := []struct {
		call, base string
		want       request
	}{
		{"capabilities", "", request{"POST /v1/sys/capabilities-self", ownNS1, `{"paths":["kv/data/x"]}`}},
		{"unwrap", "", request{"POST /v1/sys/wrapping/unwrap", ownNS1, ""}},
		{"lookup", "", request{"GET /v1/auth/token/lookup-self", ownNS1, ""}},
		{"revoke", "", request{"POST /v1/auth/token/revoke-self", ownNS1, ""}},
		{"group", "", request{"POST /v1/sys/control-group/request", ownNS1, `{"accessor":"a"}`}},
		{"enrol", "", request{"POST /v1/identity/mfa/method/totp/self-enroll", ns1, `{"mfa_method_id":"m1","mfa_request_id":"r"}`}},
		{"number", "", request{"GET /v1/auth/okta/verify/n", ns1, ""}},
		{"health", "/base", request{"GET /base/v1/sys/health", none, ""}},
		{"release", "", request{"POST /v1/sys/wrapping/unwrap", own, `{"token":"hvs.wrap"}`}},
		{"a login in a namespace", "", request{"POST /v1/auth/userpass/login/alice", ns1, `{"password":"p\"w"}`}},

		{minting("nothing but the path", MintRequest{Path: "auth/token/create/prod-stepup"}), "", request{"POST /v1/auth/token/create/prod-stepup", own, `{}`}},
		{minting("everything", MintRequest{
			Path: "auth/token/create", Namespace: "ns1/ns2", Policies: []string{"prod-stepup", "b"},
			TTL: 5 * time.Minute, NumUses: 3, NoParent: true,
			Credentials: []mfa.Credential{{Method: "corp_totp", Passcode: "123456"}},
		}), "/behind/vault", request{
			"POST /behind/vault/v1/auth/token/create",
			http.Header{"X-Vault-Token": own["X-Vault-Token"], "X-Vault-Namespace": {"ns1/ns2"}, "X-Vault-Mfa": {"corp_totp:123456"}},
			`{"no_parent":true,"num_uses":3,"policies":["prod-stepup","b"],"ttl":"300s"}`,
		}},
		{minting("a line for each method, written as it is", MintRequest{Path: "p", Credentials: []mfa.Credential{
			{Method: "corp_duo", Passcode: "passcode=1,2"}, {Method: "corp_okta"}, {Method: "corp_totp", Passcode: "12:34"},
		}}), "", request{
			"POST /v1/p",
			http.Header{"X-Vault-Token": own["X-Vault-Token"], "X-Vault-Mfa": {"corp_duo:passcode=1,2", "corp_okta", "corp_totp:12:34"}},
			`{}`,
		}},
		{minting("part of a second is a second", MintRequest{Path: "p", TTL: 1500 * time.Millisecond}), "", request{"POST /v1/p", own, `{"ttl":"2s"}`}},

		{
			validating("one code", mfa.Challenge{RequestID: "r1"}, map[string][]string{"m1": {"123456"}}), "",
			request{"POST /v1/sys/mfa/validate", none, `{"mfa_payload":{"m1":["123456"]},"mfa_request_id":"r1"}`},
		},
		{
			validating("a push and a code, namespace, wrapping, base path",
				mfa.Challenge{RequestID: "r2", Namespace: "ns1/ns2", WrapTTL: "120s"}, map[string][]string{"m1": nil, "m2": {"1"}}),
			"/behind/vault", request{
				"POST /behind/vault/v1/sys/mfa/validate", http.Header{"X-Vault-Namespace": {"ns1/ns2"}, "X-Vault-Wrap-Ttl": {"120s"}},
				`{"mfa_payload":{"m1":[""],"m2":["1"]},"mfa_request_id":"r2"}`,
			},
		},
		{
			validating("base path with an escape and a slash at its end", mfa.Challenge{RequestID: "r3"}, map[string][]string{"m1": {}}),
			"/a%2Fb/", request{"POST /a%2Fb/v1/sys/mfa/validate", none, `{"mfa_payload":{"m1":[""]},"mfa_request_id":"r3"}`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.call, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, tt.base, 200, `{}`)
			if resp, err := calls[tt.call](t.Context(), f.Client); err == nil && resp != nil {
				_ = resp.Body.Close()
			}
			if diff := cmp.Diff(tt.want, f.only()); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswersAreRead(t *testing.T) {
	t.Parallel()
	const wrapped = `{"auth":{"mfa_requirement":{"mfa_request_id":"r"}},"extra": 1.50}`
	health := func(rest string, skew time.Duration) string {
		return fmt.Sprintf(`{"version":"1.21.0","server_time_utc":%d%s}`, time.Now().Add(skew).Unix(), rest)
	}
	quoted := func(url string) string { return fmt.Sprintf(`{"data":{"barcode":"x","url":%q}}`, url) }
	made := Enrolment{Secret: seedText, Issuer: "Vault", Account: "0d6c2f0e", Algorithm: "SHA1", Digits: 6, Period: 30}
	const nothing, not = "says nothing about the path", "is not Vault's"
	tests := []struct {
		call, name string
		status     int
		body       string
		want       any    // the zero value with an error
		err        string // a part of it; "" means none
	}{
		{"capabilities", "under the path", 200, `{"data":{"kv/data/x":["read","list"]}}`, []string{"read", "list"}, ""},
		{"capabilities", "one path only", 200, `{"data":{"capabilities":["deny"]}}`, []string{"deny"}, ""},
		{"capabilities", "both", 200, `{"data":{"capabilities":["deny"],"kv/data/x":["root"]}}`, []string{"root"}, ""},
		{"capabilities", "none", 200, `{"data":{"kv/data/x":[]}}`, []string{}, ""},
		{"capabilities", "another path", 200, `{"data":{"kv/data/y":["read"]}}`, nil, nothing},
		{"capabilities", "not a list", 200, `{"data":{"kv/data/x":"read"}}`, nil, nothing},
		{"capabilities", "not words", 200, `{"data":{"kv/data/x":[1]}}`, nil, nothing},
		{"capabilities", "no data", 200, `{}`, nil, nothing},
		{"capabilities", "no JSON", 200, `<html>`, nil, nothing},
		{"capabilities", "nothing", 204, ``, nil, nothing},
		{"capabilities", "dead token", 403, `{"errors":["permission denied"]}`, nil, "vault answered 403: permission denied"},

		{"unwrap", "a login", 200, wrapped, wrapped, ""},
		{"unwrap", "nothing", 204, "", "", ""},
		{"unwrap", "a used token", 400, `{"errors":["wrapping token is not valid or does not exist"]}`, nil, "vault answered 400: wrapping token is not valid"},
		{"unwrap", "without end", 200, strings.Repeat(" ", maxBody+1), nil, "larger than"},

		{
			"lookup", "all", 200, `{"data":{"accessor":"acc","entity_id":"e1","policies":["default","prod"],"ttl":300,"num_uses":2,"id":"hvs.x"}}`,
			TokenInfo{Accessor: "acc", EntityID: "e1", Policies: []string{"default", "prod"}, TTL: 5 * time.Minute, Uses: 2}, "",
		},
		{"lookup", "last use", 200, `{"data":{"accessor":"acc","policies":["default"],"ttl":300,"num_uses":-1}}`, TokenInfo{Accessor: "acc", Policies: []string{"default"}, TTL: 5 * time.Minute, Uses: -1}, ""},
		{"lookup", "no uses", 200, `{"data":{"accessor":"acc","policies":["default"],"ttl":300}}`, TokenInfo{Accessor: "acc", Policies: []string{"default"}, TTL: 5 * time.Minute}, ""},
		{"lookup", "malformed", 200, `{"data":{"accessor":7,"policies":["a"],"ttl":"x"}}`, nil, "answer of lookup-self"},
		{"lookup", "malformed uses", 200, `{"data":{"accessor":"a","policies":["a"],"ttl":1,"num_uses":1.5}}`, nil, "answer of lookup-self"},
		{"lookup", "no data", 200, `{}`, nil, not},
		{"revoke", "done", 204, "", "", ""},

		{"number", "shown", 200, `{"data":{"correct_answer":42}}`, "42true", ""},
		{"number", "none yet", 404, `{"errors":[]}`, "false", ""},
		{"number", "refused", 403, `{"errors":["permission denied"]}`, nil, "vault answered 403: permission denied"},
		{"number", "too long", 200, `{"data":{"correct_answer":1234567}}`, nil, "auth/okta/verify " + not},
		{"number", "not digits", 200, `{"data":{"correct_answer":-1}}`, nil, "auth/okta/verify " + not},
		{"number", "text", 200, `{"data":{"correct_answer":"42"}}`, nil, "auth/okta/verify " + not},

		// An answer that is not Vault's is never an approval.
		{"group", "nothing", 200, "", nil, not},
		{"group", "a page", 200, "<html>approved: true</html>", nil, not},
		{"group", "another kind of yes", 200, `{"data":{"approved":"yes"}}`, nil, not},
		{"group", "huge", 200, `{"data":{"approved":true,"x":"` + strings.Repeat("a", 9<<20) + `"}}`, nil, "larger than"},

		{"enrol", "usable", 200, quoted(otpauth), made, ""},
		{"enrol", "a picture is ignored", 200, `{"data":{"barcode":{"not":"text"},"url":"` + otpauth + `"}}`, made, ""},
		{"enrol", "no JSON", 200, otpauth, nil, "not Vault's JSON"},
		{"enrol", "nothing", 200, ``, nil, "not Vault's JSON"},
		{"enrol", "null", 200, `null`, nil, "without a secret"},
		{"enrol", "no data", 200, `{"data":null}`, nil, "without a secret"},
		{"enrol", "a number as URL", 200, `{"data":{"url":5}}`, nil, "not Vault's JSON"},
		{"enrol", "of another kind", 200, quoted(strings.Replace(otpauth, "totp", "hotp", 1)), nil, "not an otpauth"},
		{"enrol", "too large", 200, `{"x":"` + strings.Repeat("a", 1<<20) + `"}`, nil, "larger than"},
		{"enrol", "a warning we know not", 200, `{"warnings":["the moon is wrong"]}`, nil, "without a secret"},
		{"enrol", "one is there", 200, `{"warnings":["Entity already has a secret for MFA method \"x\""]}`, nil, "already"},
		{"enrol", "refused", 403, `{"errors":["permission denied"]}`, nil, "vault answered 403: permission denied"},
		{"enrol", "community Vault", 404, `{"errors":["no handler for route"]}`, nil, "vault answered 404"},
		{"enrol", "a page of a proxy", 502, `<html>` + otpauth, nil, "vault answered 502"},

		{"mount", "version 2", 200, `{"data":{"path":"kv/","type":"kv","options":{"version":"2"}}}`, Mount{"kv/", "kv", "2"}, ""},
		{"mount", "version 1", 200, `{"data":{"path":"kv/","type":"kv","options":{}}}`, Mount{"kv/", "kv", "1"}, ""},
		{"mount", "a very old server", 200, `{"data":{"path":"kv/","type":"generic","options":null}}`, Mount{"kv/", "generic", "1"}, ""},
		{"mount", "another engine", 200, `{"data":{"path":"kv/","type":"transit","options":{"version":"2"}}}`, Mount{"kv/", "transit", ""}, ""},
		{"mount", "nothing granted", 403, `{"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"kv/prod/\""]}`, nil, "vault answered 403: preflight"},
		{"mount", "no data", 200, `{}`, nil, "sys/internal/ui/mounts " + not},
		{"mount", "options of another shape", 200, `{"data":{"path":"kv/","type":"kv","options":[]}}`, nil, "sys/internal/ui/mounts/kv/prod " + not},
		{"mount", "a page", 200, `<html>`, nil, not},

		{"health", "active", 200, health(`,"initialized":true`, 0), Health{Version: "1.21.0", Initialized: true}, ""},
		{"health", "standby", 429, health(`,"initialized":true,"standby":true`, 0), Health{Version: "1.21.0", Initialized: true, Standby: true}, ""},
		{"health", "performance standby", 473, health(`,"initialized":true,"performance_standby":true`, 0), Health{Version: "1.21.0", Initialized: true, Standby: true}, ""},
		{"health", "not initialised", 501, health(`,"sealed":true`, 0), Health{Version: "1.21.0", Sealed: true}, ""},
		{"health", "sealed", 503, health(`,"initialized":true,"sealed":true`, 0), Health{Version: "1.21.0", Initialized: true, Sealed: true}, ""},
		{"health", "ahead", 200, health("", 10*time.Hour), Health{Version: "1.21.0", Skew: 10 * time.Hour}, ""},
		{"health", "behind", 200, health("", -10*time.Hour), Health{Version: "1.21.0", Skew: -10 * time.Hour}, ""},
		{"health", "a load balancer", 503, "<html>no backend</html>", nil, "not as Vault does"},
		{"health", "other JSON", 200, `{"status":"ok"}`, nil, "not as Vault does"},
	}
	for _, tt := range tests {
		t.Run(tt.call+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, "", tt.status, tt.body)
			got, err := read()[tt.call](t.Context(), f.Client)
			f.only()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), testToken.Reveal()) || strings.Contains(err.Error(), seedText) {
					t.Errorf("error = %v, want one with %q and no secret", err, tt.err)
				}
				if v := reflect.ValueOf(got); !v.IsZero() && got != "false" {
					t.Errorf("%+v comes with an error", got)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestSkew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []time.Duration{-time.Hour, -30 * time.Second, 0, 30 * time.Second} {
			sent := time.Now()
			server := sent.Add(time.Second).Add(ahead).Unix() // Vault answers in the middle
			time.Sleep(2 * time.Second)
			if got := skew(server, sent, time.Now()); (got - ahead).Abs() > time.Second {
				t.Errorf("skew = %v, want %v", got, ahead)
			}
		}
	})
}

// The answers are the caller's, byte for byte.
func TestAnswersAreHandedOn(t *testing.T) {
	t.Parallel()
	for name, call := range handed() {
		for status, body := range map[int]string{
			200: `{"auth":{"client_token":"x"}}`,
			204: "",
			400: `{"errors":["invalid request ID"]}`,
			403: `{"errors":["failed to satisfy enforcement"]}`,
			429: `{"errors":["quota"]}`,
			500: "{",
			503: "<html>\x00\xff</html>",
		} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				t.Parallel()
				f := newFixture(t, "", status, body)
				f.header.Set("X-Vault-Index", "abc")
				resp, err := call(t.Context(), f.Client)
				must(t, err)
				defer func() { _ = resp.Body.Close() }()
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != status || string(got) != body || Index(resp) != "abc" {
					t.Errorf("got %d %q, index %q, error %v", resp.StatusCode, got, Index(resp), err)
				}
				f.only()
			})
		}
	}
}

// A load balancer that gives up on a push closes the connection without an answer.
// A second validate or mint is a second push, or a second token; a second login uses
// up an attempt of the person's account.
func TestHandedCallsAreSentOnce(t *testing.T) {
	t.Parallel()
	for name, call := range handed() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = fmt.Fprintf(w, `{"server_time_utc":%d}`, time.Now().Unix())
					return
				}
				calls.Add(1)
				if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
					_ = conn.Close()
				}
			}), Config{})
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
func TestHandedCallsEnd(t *testing.T) {
	t.Parallel()
	for name, call := range handed() {
		for limit, timeout := range map[string]time.Duration{"with its context": 0, "at its limit": 50 * time.Millisecond} {
			t.Run(name+" "+limit, func(t *testing.T) {
				t.Parallel()
				arrived, gone, stop := make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
				address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body) // the server watches the connection once the body is read
					arrived <- struct{}{}
					select {
					case <-r.Context().Done():
						gone <- struct{}{}
					case <-stop:
					}
				})
				t.Cleanup(func() { close(stop) })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if timeout == 0 {
					go func() {
						<-arrived
						cancel()
					}()
				}
				resp, err := call(ctx, newClient(t, address, Config{Timeout: timeout}))
				if err == nil {
					_ = resp.Body.Close()
				}
				ne, ok := errors.AsType[net.Error](err)
				if timeout == 0 && !errors.Is(err, context.Canceled) || timeout > 0 && (!ok || !ne.Timeout()) {
					t.Errorf("error = %v", err)
				}
				if timeout == 0 {
					<-gone // Vault takes the push back
					return
				}
				select {
				case <-arrived:
					<-gone
				default: // on a busy machine a short limit may be over before anything is sent
				}
			})
		}
	}
}

// The limit of the call ends with its body, not with its headers.
func TestBodyIsReadLater(t *testing.T) {
	t.Parallel()
	for name, call := range handed() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more := make(chan struct{})
			c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"auth":`)
				_ = http.NewResponseController(w).Flush()
				<-more
				_, _ = io.WriteString(w, `null}`)
			}), Config{})
			resp, err := call(t.Context(), c)
			close(more)
			must(t, err)
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || !json.Valid(body) {
				t.Errorf("body = %q, %v", body, err)
			}
		})
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
			"service token", `{"auth":{"client_token":"hvs.x","accessor":"a","entity_id":"e","lease_duration":300,"renewable":true,"num_uses":2}}`,
			Auth{Token: "hvs.x", Accessor: "a", EntityID: "e", TTL: 5 * time.Minute, Uses: 2, Renewable: true}, "",
		},
		{"root token", `{"auth":{"client_token":"hvs.x","lease_duration":0}}`, Auth{Token: "hvs.x"}, ""},
		{"batch token", `{"auth":{"client_token":"hvb.x","lease_duration":60,"num_uses":0}}`, Auth{Token: "hvb.x", TTL: time.Minute}, ""},
		{"held login", `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"r"}}}`, Auth{}, "has no token"},
		{"wrapped", `{"auth":null,"wrap_info":{"token":"hvs.CANARY"}}`, Auth{}, "has no token"},
		{"a secret", `{"data":{"client_token":"hvs.CANARY"}}`, Auth{}, "has no token"},
		{"errors", `{"errors":["hvs.CANARY"]}`, Auth{}, "has no token"},
		{"nothing", ``, Auth{}, "has no token"},
		{"null", `null`, Auth{}, "has no token"},
		{"no JSON", `hvs.CANARY`, Auth{}, "JSON"},
		{"HTML", `<html>hvs.CANARY`, Auth{}, "JSON"},
		{"cut short", `{"auth":{"client_token":"hvs.CANARY"`, Auth{}, "JSON"},
		{"a header in the token", `{"auth":{"client_token":"hvs.CANARY\r\nX-Evil: 1"}}`, Auth{}, "characters"},
		{"a blank in the token", `{"auth":{"client_token":"hvs. CANARY"}}`, Auth{}, "characters"},
		{"not ASCII", `{"auth":{"client_token":"hvs.CANARYé"}}`, Auth{}, "characters"},
		{"negative lease", `{"auth":{"client_token":"hvs.CANARY","lease_duration":-1}}`, Auth{}, "impossible"},
		{"endless lease", `{"auth":{"client_token":"hvs.CANARY","lease_duration":9223372036854775807}}`, Auth{}, "impossible"},
		{"negative uses", `{"auth":{"client_token":"hvs.CANARY","num_uses":-1}}`, Auth{}, "impossible"},
		{"uses are no number", `{"auth":{"client_token":"hvs.CANARY","num_uses":"CANARY"}}`, Auth{}, "uses"},
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
		var sent strings.Builder
		header := http.Header{"X-Vault-Token": {a.Token.Reveal()}}
		if err := header.Write(&sent); err != nil || sent.String() != "X-Vault-Token: "+a.Token.Reveal()+"\r\n" {
			t.Fatalf("it is not sent as it is: %q", sent.String())
		}
	})
}
