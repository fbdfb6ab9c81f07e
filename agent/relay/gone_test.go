package relay_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/agent/relay"
)

func TestVaultIsGone(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:1" // one that no other test is given
	f := newFixture(t, "http://"+address, nil)
	resp, err := client.Get(f.url + "/v1/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	want := fmt.Sprintf(`{"errors":["stepup: vault \"corp\" cannot be reached: dial tcp %s: connect: connection refused"]}`+"\n", address)
	if resp.StatusCode != 502 || string(body) != want || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answer %d %s", resp.StatusCode, body)
	}
}

// A body that is not what HTTP wants is the app's fault: no 502, which blames
// Vault and makes clients try again.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"ordinary path": "/v1/x", "path of a rule": "/v1/kv/data/prod/x"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), nil)
			got := raw(t, f.url, "POST "+path+" HTTP/1.1\r\nHost: x\r\nX-Vault-Token: t\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
			want := `{"errors":["stepup: the body of the request cannot be read: invalid byte in chunk length"]}`
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, want) {
				t.Errorf("answer %s", got)
			}
			if f.log.String() != "" {
				t.Errorf("log: %s", f.log)
			}
		})
	}
}

func TestVaultIsSlow(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	address := upstream(t, func(http.ResponseWriter, *http.Request) { <-release })
	f := newFixture(t, address, func(c *relay.Config) { c.Base.(*http.Transport).ResponseHeaderTimeout = 1 })
	resp, err := client.Get(f.url + "/v1/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if want := `{"errors":["stepup: vault \"corp\" did not answer in time"]}` + "\n"; resp.StatusCode != 504 || string(body) != want {
		t.Errorf("answer %d %s", resp.StatusCode, body)
	}
}
