package vault

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func TestValidateNode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		node  func(configured, other string) string
		other bool // whether the other node is asked
		path  string
	}{
		{"none", func(_, _ string) string { return "" }, false, "/base/v1/sys/mfa/validate"},
		{"the configured one", func(c, _ string) string { return c }, false, "/base/v1/sys/mfa/validate"},
		{"another one", func(_, o string) string { return o }, true, "/v1/sys/mfa/validate"},
		{"another scheme", func(_, o string) string { return "https" + strings.TrimPrefix(o, "http") }, false, "/base/v1/sys/mfa/validate"},
		{"no URL", func(_, _ string) string { return "http://%zz" }, false, "/base/v1/sys/mfa/validate"},
		{"no host", func(_, _ string) string { return "http://" }, false, "/base/v1/sys/mfa/validate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			configured, other := record(200, "{}"), record(200, "{}")
			a, b := serve(t, configured), serve(t, other)
			c := newClient(t, a+"/base")
			resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r", Node: tt.node(a, b)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			asked, spared := configured, other
			if tt.other {
				asked, spared = other, configured
			}
			if got := asked.only(t); got.Path != tt.path || len(spared.seen) != 0 {
				t.Errorf("path %s and %d requests to the other node, want %s and none", got.Path, len(spared.seen), tt.path)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	plain := record(200, `{"data":{"capabilities":["read"]}}`)
	plainURL := serve(t, plain)
	tests := []struct {
		name     string
		status   int
		location string
		tls      bool
		want     error // nil means that the target answers
	}{
		{"307 to another node", 307, plainURL + "/v1/elsewhere", false, nil},
		{"308 to another node", 308, plainURL + "/v1/elsewhere", false, nil},
		{"userinfo is dropped", 307, strings.Replace(plainURL, "://", "://u:p@", 1) + "/v1/elsewhere", false, nil},
		{"https to http", 307, plainURL + "/v1/elsewhere", true, errRedirect},
		{"http to https", 307, "https://vault.test/v1/elsewhere", false, errRedirect},
		{"302 would lose the body", 302, plainURL + "/v1/elsewhere", false, errRedirect},
		{"303 would lose the body", 303, plainURL + "/v1/elsewhere", false, errRedirect},
		{"no location", 307, "", false, errRedirect},
		{"another protocol", 307, "ws://vault.test/", false, errRedirect},
		{"round and round", 307, "/again", false, errTooManyRedirects},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := record(tt.status, "")
			if tt.location != "" {
				rec.header = http.Header{"Location": {tt.location}}
			}
			var c *Client
			if tt.tls {
				srv := tlsServer(t, nil, rec.ServeHTTP)
				c = newClientWith(t, srv.URL, Config{Transport: srv.Client().Transport})
			} else {
				c = newClient(t, serve(t, rec))
			}
			words, err := c.Capabilities(t.Context(), testToken, "ns1", "kv/data/x")
			if tt.want != nil {
				if !errors.Is(err, tt.want) || len(plain.seen) != 0 {
					t.Errorf("error = %v with %d requests to the target, want %v and none", err, len(plain.seen), tt.want)
				}
				return
			}
			if err != nil || !slices.Equal(words, []string{"read"}) {
				t.Fatalf("Capabilities = %q, %v", words, err)
			}
			got, first := plain.only(t), rec.only(t)
			if got.Method != first.Method || got.Body != first.Body || got.Path != "/v1/elsewhere" {
				t.Errorf("target saw %s %s %s, want %s and %s", got.Method, got.Path, got.Body, first.Method, first.Body)
			}
			if diff := cmp.Diff(first.Header, got.Header); diff != "" {
				t.Errorf("headers at the target (-first +got):\n%s", diff)
			}
		})
	}
}

func TestSocketIsNotLeft(t *testing.T) {
	t.Parallel()
	plain := record(200, "{}")
	plainURL := serve(t, plain)
	location := "/v1/again"
	address := unixServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == location {
			_, _ = io.WriteString(w, `{"data":{"capabilities":["list"]}}`)
			return
		}
		if r.Header.Get("X-Vault-Namespace") == "out" {
			location = plainURL
		}
		w.Header().Set("Location", location)
		w.WriteHeader(307)
	})
	c := newClient(t, address.String())
	if words, err := c.Capabilities(t.Context(), testToken, "", "x"); err != nil || !slices.Equal(words, []string{"list"}) {
		t.Errorf("redirect within the socket: %q, %v", words, err)
	}
	resp, err := c.Validate(t.Context(), mfa.Challenge{Node: plainURL, Namespace: "out"}, nil)
	if !errors.Is(err, errRedirect) {
		if err == nil {
			_ = resp.Body.Close()
		}
		t.Errorf("redirect out of the socket: %v, want %v", err, errRedirect)
	}
	if len(plain.seen) != 0 {
		t.Error("a request left the socket")
	}
}
