package okta

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// TestStub does what Vault does, through the certificate that Vault trusts.
func TestStub(t *testing.T) {
	t.Parallel()
	s, err := New(t.TempDir())
	if err != nil {
		if os.Getuid() != 0 {
			t.Skip("needs root to listen at port 443: ", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	text, err := os.ReadFile(s.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in the file")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(client.CloseIdleConnections)
	settings := s.Settings()
	base := "https://" + settings["org_name"].(string) + "." + settings["base_url"].(string)
	ask := func(method, path, token string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "SSWS "+token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	answer := make(chan Result)
	s.Give("ann", func(ctx context.Context) Result {
		select {
		case r := <-answer:
			return r
		case <-ctx.Done():
			return TimedOut
		}
	})
	find := func(name string) string {
		return "/api/v1/users?filter=" + url.QueryEscape(`profile.login eq "`+name+`"`)
	}
	for _, test := range []struct {
		name, method, path, token string
		status                    int
		body                      string // part of it
	}{
		{"no token", "GET", find("ann"), "", 401, "Invalid token"},
		{"known", "GET", find("ann"), Token, 200, `"id":"ann"`},
		{"unknown", "GET", find("eve"), Token, 200, "[]"},
		{"no filter", "GET", "/api/v1/users", Token, 400, "Invalid search"},
		{"factors", "GET", "/api/v1/users/ann/factors", Token, 200, `"factorType":"push"`},
		{"no such transaction", "GET", "/api/v1/users/ann/factors/push/transactions/x", Token, 404, ""},
		{"no phone", "POST", "/api/v1/users/eve/factors/push/verify", Token, 404, ""},
	} {
		if status, body := ask(test.method, test.path, test.token); status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s: %d %s, want %d with %s", test.name, status, body, test.status, test.body)
		}
	}
	if !s.Polled("ann").IsZero() || s.Pushes("ann") != 0 {
		t.Error("a push before the first")
	}
	for _, want := range []Result{Approved, Rejected, TimedOut} {
		_, body := ask("POST", "/api/v1/users/ann/factors/push/verify", Token)
		var begun struct {
			Result Result `json:"factorResult"`
			Links  struct {
				Poll struct {
					Href string `json:"href"`
				} `json:"poll"`
			} `json:"_links"`
		}
		if err := json.Unmarshal([]byte(body), &begun); err != nil || begun.Result != Waiting {
			t.Fatalf("verify: %v %s", err, body)
		}
		path := strings.TrimPrefix(begun.Links.Poll.Href, base)
		if _, body := ask("GET", path, Token); !strings.Contains(body, string(Waiting)) {
			t.Errorf("before the phone has decided: %s", body)
		}
		answer <- want
		for limit := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			_, body := ask("GET", path, Token)
			if strings.Contains(body, string(want)) {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("the phone said %s: %s", want, body)
			}
		}
	}
	if s.Pushes("ann") != 3 || s.Polled("ann").IsZero() {
		t.Errorf("%d pushes, polled %v", s.Pushes("ann"), s.Polled("ann"))
	}
}
