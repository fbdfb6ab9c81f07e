package vault_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

// client is not the default one, whose idle connections every server of httptest
// closes at its end, under the requests of other tests.
var client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}

// The calls in their order of life: a login in a namespace, wrapped, is held;
// its requirement is unwrapped, a wrong and a right code are sent, and the token
// is asked about and ended.
func TestLifeOfALogin(t *testing.T) {
	t.Parallel()
	address, ns, method := vaultWithLogin(t)
	c := connect(t, address)
	ctx := t.Context()

	h, err := c.Health(ctx)
	if err != nil || !h.Up || h.Sealed || h.Version == "" || h.Skew.Abs() > time.Minute {
		t.Errorf("Health = %+v, %v", h, err)
	}

	body, err := c.Unwrap(ctx, login(t, address), "ns1")
	if err != nil {
		t.Fatal(err)
	}
	challenge, ok, err := mfa.Parse(body)
	if err != nil || !ok {
		t.Fatalf("no challenge (%v) in %s", err, body)
	}
	challenge.Namespace = "ns1"

	if status, body := validate(t, c, challenge, method, "000000000"); status != http.StatusForbidden || !strings.Contains(body, "failed to satisfy enforcement") {
		t.Errorf("wrong code: %d %s", status, body)
	}
	status, answer := validate(t, c, challenge, method, ns.UnusedCode("corp", "alice"))
	if status != http.StatusOK {
		t.Fatalf("right code: %d %s", status, answer)
	}
	login, err := api.ParseSecret(strings.NewReader(answer))
	if err != nil || login.Auth == nil {
		t.Fatalf("no token (%v) in %s", err, answer)
	}
	token := secret.Secret(login.Auth.ClientToken)

	words, err := c.Capabilities(ctx, token, "ns1", "auth/token/lookup-self")
	if err != nil || !slices.Contains(words, "read") {
		t.Errorf("Capabilities = %q, %v", words, err)
	}
	info, err := c.LookupSelf(ctx, token, "ns1")
	if err != nil || info.Accessor != login.Auth.Accessor || info.TTL <= 0 || !slices.Contains(info.Policies, "default") {
		t.Errorf("LookupSelf = %+v, %v", info, err)
	}
	if err := c.RevokeSelf(ctx, token, "ns1"); err != nil {
		t.Errorf("RevokeSelf: %v", err)
	}
	_, err = c.LookupSelf(ctx, token, "ns1")
	if se, ok := errors.AsType[*vault.StatusError](err); !ok || se.Status != http.StatusForbidden {
		t.Errorf("LookupSelf of a revoked token: %v, want a 403", err)
	}
}

// vaultWithLogin has a login in ns1 that wants the TOTP method.
func vaultWithLogin(t *testing.T) (address string, ns *devvault.Namespace, method string) {
	t.Helper()
	dev := devvault.New(devvault.Config{})
	srv := httptest.NewServer(dev)
	t.Cleanup(dev.Close)
	t.Cleanup(srv.Close)
	ns = dev.AddNamespace("ns1")
	ns.AddUser("userpass", "alice", "pw", "default")
	method = ns.AddTOTPMethod("corp")
	if _, _, err := ns.EnrolTOTP("corp", "alice"); err != nil {
		t.Fatal(err)
	}
	if err := ns.AddLoginEnforcement("all", []string{"corp"}, []string{"userpass"}); err != nil {
		t.Fatal(err)
	}
	return srv.URL, ns, method
}

func connect(t *testing.T, address string) *vault.Client {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := vault.NewTransport(vault.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := vault.New(vault.Config{Name: "dev", Address: u, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// login is the app's request, wrapped as apps may ask for; it returns the
// wrapping token.
func login(t *testing.T, address string) secret.Secret {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, address+"/v1/auth/userpass/login/alice", strings.NewReader(`{"password":"pw"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Namespace", "ns1")
	req.Header.Set("X-Vault-Wrap-TTL", "60s")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := api.ParseSecret(resp.Body)
	if err != nil || answer == nil || answer.WrapInfo == nil {
		t.Fatalf("the login was not wrapped: %+v, %v", answer, err)
	}
	return secret.Secret(answer.WrapInfo.Token)
}

func validate(t *testing.T, c *vault.Client, ch mfa.Challenge, method, code string) (int, string) {
	t.Helper()
	resp, err := c.Validate(t.Context(), ch, map[string][]string{method: {code}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
