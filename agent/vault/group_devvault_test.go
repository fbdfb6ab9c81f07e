package vault_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

// The life of a request that somebody else must approve.
func TestLifeOfAControlGroup(t *testing.T) {
	t.Parallel()
	v := devvault.New(devvault.Config{})
	t.Cleanup(v.Close)
	address, err := v.Start()
	if err != nil {
		t.Fatal(err)
	}
	v.AddEntity("abby")
	v.AddPolicy("pay", devvault.PathRule{Path: "kv/data/pay", Capabilities: []string{"read"}, ControlGroup: &devvault.ControlGroup{
		Factors: []devvault.GroupFactor{{Members: []string{"abby"}}},
	}})
	if err := v.PutSecret("kv/pay", map[string]any{"salary": "1"}); err != nil {
		t.Fatal(err)
	}
	own := secret.Secret(v.CreateToken([]string{"default", "pay"}, "alice"))
	g := heldRead(t, address, own)
	c := connect(t, address)
	ctx := t.Context()

	for range 3 { // asking uses nothing up
		if s, err := c.ControlGroup(ctx, own, "", g.Accessor); err != nil || s.Approved || s.Requester != "alice" || len(s.By) > 0 {
			t.Fatalf("before: %+v %v", s, err)
		}
	}
	held := vault.Held{Caller: own, Wrapping: secret.Secret(g.Token)}
	if status, body := release(t, c, held); status != 400 || !mfa.FurtherApproval([]byte(body)) {
		t.Errorf("too early: %d %s", status, body)
	}
	if err := v.Authorize(g.Accessor, "abby"); err != nil {
		t.Fatal(err)
	}
	if s, err := c.ControlGroup(ctx, own, "", g.Accessor); err != nil || !s.Approved || len(s.By) != 1 || s.By[0] != "abby" {
		t.Errorf("after: %+v %v", s, err)
	}
	if status, body := release(t, c, held); status != 200 || !strings.Contains(body, `"salary":"1"`) {
		t.Errorf("released: %d %s", status, body)
	}
	if status, body := release(t, c, held); status != 400 || !mfa.WrappingGone([]byte(body)) {
		t.Errorf("again: %d %s", status, body)
	}
	_, err = c.ControlGroup(ctx, own, "", g.Accessor)
	if refusal, ok := errors.AsType[*vault.StatusError](err); !ok || refusal.Status != 400 {
		t.Errorf("afterwards: %v", err)
	}
}

func heldRead(t *testing.T, address string, token secret.Secret) mfa.ControlGroup {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/v1/kv/data/pay", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token.Reveal())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	g, ok := mfa.ParseControlGroup(body)
	if !ok || !g.Answers("", "kv/data/pay") {
		t.Fatalf("no control group: %s", body)
	}
	return g
}

func release(t *testing.T, c *vault.Client, h vault.Held) (int, string) {
	t.Helper()
	resp, err := c.Release(t.Context(), h)
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

// An answer that is not Vault's is an error, and never an approval.
func TestControlGroupOddAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":               "",
		"a page":              "<html>approved: true</html>",
		"another kind of yes": `{"data":{"approved":"yes"}}`,
		"huge":                `{"data":{"approved":true,"x":"` + strings.Repeat("a", 9<<20) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			defer srv.Close()
			s, err := connect(t, srv.URL).ControlGroup(t.Context(), "hvs.secret", "", "a")
			if err == nil || s.Approved || strings.Contains(err.Error(), "hvs.secret") {
				t.Errorf("%+v %v", s, err)
			}
		})
	}
}
