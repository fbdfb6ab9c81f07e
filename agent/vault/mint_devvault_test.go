package vault_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A mint behind MFA is refused without a code and gives a token with one; what
// the token may is what was asked for.
func TestMintBehindMFA(t *testing.T) {
	t.Parallel()
	dev := devvault.New(devvault.Config{})
	srv := httptest.NewServer(dev)
	t.Cleanup(dev.Close)
	t.Cleanup(srv.Close)
	dev.AddTOTPMethod("corp")
	dev.AddEntity("alice")
	if _, _, err := dev.EnrolTOTP("corp", "alice"); err != nil {
		t.Fatal(err)
	}
	dev.AddTokenRole("prod-stepup", devvault.TokenRole{AllowedPolicies: []string{"prod-stepup"}})
	dev.AddPolicy("prod-stepup", devvault.PathRule{Path: "kv/data/prod/*", Capabilities: []string{"read"}})
	dev.AddPolicy("app", devvault.PathRule{
		Path: "auth/token/create/prod-stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"},
	})
	c := connect(t, srv.URL)
	ask := vault.MintRequest{
		Path:     "auth/token/create/prod-stepup",
		Token:    secret.Secret(dev.CreateToken([]string{"default", "app"}, "alice")),
		Policies: []string{"prod-stepup"}, TTL: 5 * time.Minute, NumUses: 2,
	}
	if status, body := mint(t, c, ask); status != http.StatusForbidden {
		t.Errorf("without a code: %d %s", status, body)
	}
	ask.Credentials = []mfa.Credential{{Method: "corp", Passcode: dev.UnusedCode("corp", "alice")}}
	status, body := mint(t, c, ask)
	if status != http.StatusOK {
		t.Fatalf("with a code: %d %s", status, body)
	}
	got, err := vault.ParseAuth(body)
	if err != nil || got.TTL != 5*time.Minute || got.Uses != 2 || got.Accessor == "" {
		t.Fatalf("ParseAuth = %+v, %v", got, err)
	}
	words, err := c.Capabilities(t.Context(), got.Token, "", "kv/data/prod/db")
	if err != nil || len(words) != 1 || words[0] != "read" {
		t.Errorf("the token may %q, error %v", words, err)
	}
}

func mint(t *testing.T, c *vault.Client, r vault.MintRequest) (int, []byte) {
	t.Helper()
	return answer(t)(c.Mint(t.Context(), r))
}

func answer(t *testing.T) func(*http.Response, error) (int, []byte) {
	return func(resp *http.Response, err error) (int, []byte) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body
	}
}

// A login is held, answered on the node that holds it, and gives a token; a wrong
// password is another answer than a wrong code.
func TestLoginThatIsHeld(t *testing.T) {
	t.Parallel()
	address, ns, method := vaultWithLogin(t)
	c := connect(t, address)
	ask := vault.LoginRequest{Path: "auth/userpass/login/alice", Namespace: "ns1", Password: "wrong"}
	if status, body := answer(t)(c.Login(t.Context(), ask)); status != http.StatusBadRequest {
		t.Errorf("wrong password: %d %s", status, body)
	}
	ask.Password = "pw"
	resp, err := c.Login(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	status, body := answer(t)(resp, nil)
	challenge, held, err := mfa.Parse(body)
	if status != http.StatusOK || err != nil || !held {
		t.Fatalf("right password: %d %s, held %v, error %v", status, body, held, err)
	}
	if _, err := vault.ParseAuth(body); err == nil {
		t.Error("a held login passes for a token")
	}
	challenge.Namespace, challenge.Node = "ns1", vault.Node(resp)
	if challenge.Node != address {
		t.Errorf("node is %q, want %q", challenge.Node, address)
	}
	_, text := validate(t, c, challenge, method, ns.UnusedCode("corp", "alice"))
	got, err := vault.ParseAuth([]byte(text))
	if err != nil || got.TTL <= 0 || got.EntityID == "" {
		t.Errorf("ParseAuth = %+v, %v", got, err)
	}
}
