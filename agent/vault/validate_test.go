package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

func TestValidateRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		base      string
		challenge mfa.Challenge
		payload   map[string][]string
		path      string
		body      string
		header    map[string]string
	}{
		{
			name:      "one code",
			challenge: mfa.Challenge{RequestID: "r1"},
			payload:   map[string][]string{"m1": {"123456"}},
			path:      "/v1/sys/mfa/validate",
			body:      `{"mfa_payload":{"m1":["123456"]},"mfa_request_id":"r1"}`,
			header:    map[string]string{"X-Vault-Namespace": "", "X-Vault-Wrap-Ttl": "", "X-Vault-Token": ""},
		},
		{
			name:      "a push and a code, namespace, wrapping, base path",
			base:      "/behind/vault",
			challenge: mfa.Challenge{RequestID: "r2", Namespace: "ns1/ns2", WrapTTL: "120s"},
			payload:   map[string][]string{"m1": nil, "m2": {"1"}},
			path:      "/behind/vault/v1/sys/mfa/validate",
			body:      `{"mfa_payload":{"m1":[""],"m2":["1"]},"mfa_request_id":"r2"}`,
			header:    map[string]string{"X-Vault-Namespace": "ns1/ns2", "X-Vault-Wrap-Ttl": "120s"},
		},
		{
			name:      "base path with an escape and a slash at its end",
			base:      "/a%2Fb/",
			challenge: mfa.Challenge{RequestID: "r3"},
			payload:   map[string][]string{"m1": {}},
			path:      "/a%2Fb/v1/sys/mfa/validate",
			body:      `{"mfa_payload":{"m1":[""]},"mfa_request_id":"r3"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := record(200, `{}`)
			c := newClient(t, serve(t, rec)+tt.base)
			before := fmt.Sprint(tt.payload)
			resp, err := c.Validate(t.Context(), tt.challenge, tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			got := rec.only(t)
			if got.Method != http.MethodPost || got.Path != tt.path || got.Body != tt.body {
				t.Errorf("got %s %s %s\nwant POST %s %s", got.Method, got.Path, got.Body, tt.path, tt.body)
			}
			for name, want := range tt.header {
				wantHeader(t, got.Header, name, want)
			}
			if after := fmt.Sprint(tt.payload); after != before {
				t.Errorf("payload was changed to %s", after)
			}
		})
	}
}

func wantHeader(t *testing.T, h http.Header, name, want string) {
	t.Helper()
	if got := h.Get(name); got != want {
		t.Errorf("%s = %q, want %q", name, got, want)
	}
}

// Whatever Vault says is the caller's, byte for byte.
func TestValidateAnswer(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		200: `{"auth":{"client_token":"x"}}`,
		204: "",
		400: `{"errors":["invalid request ID"]}`,
		403: `{"errors":["failed to satisfy enforcement"]}`,
		429: `{"errors":["quota"]}`,
		500: "{",
		503: "<html>\x00\xff</html>",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			rec := record(status, body)
			rec.header = http.Header{"X-Vault-Index": {"abc"}}
			c := newClient(t, serve(t, rec))
			resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != status || string(got) != body || resp.Header.Get("X-Vault-Index") != "abc" {
				t.Errorf("got %d %q %v, %v, want %d %q", resp.StatusCode, got, resp.Header, err, status, body)
			}
			rec.only(t)
		})
	}
}

// A load balancer that gives up on a push closes the connection without an
// answer. Sending again would push again.
func TestValidateIsSentOnce(t *testing.T) {
	t.Parallel()
	var validates atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = fmt.Fprintf(w, `{"server_time_utc":%d}`, time.Now().Unix())
			return
		}
		validates.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	c := newClient(t, address)
	if _, err := c.Health(t.Context()); err != nil { // net/http repeats only on a connection that was used before
		t.Fatal(err)
	}
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, map[string][]string{"m": nil})
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("no error")
	}
	if n := validates.Load(); n != 1 {
		t.Errorf("validate was sent %d times", n)
	}
}

// hung is a Vault that waits for a push; gone says when a caller has left.
func hung(t *testing.T) (address string, arrived, gone chan struct{}) {
	t.Helper()
	arrived, gone = make(chan struct{}, 1), make(chan struct{}, 1)
	stop := make(chan struct{})
	address = serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server watches the connection once the body is read
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
			gone <- struct{}{}
		case <-stop:
		}
	}))
	t.Cleanup(func() { close(stop) })
	return address, arrived, gone
}

// left waits until the server has noticed that a caller left, if it ever saw that
// one: on a busy machine a short limit may be over before anything is sent.
func left(arrived, gone <-chan struct{}) {
	select {
	case <-arrived:
		<-gone
	default:
	}
}

func TestValidateEndsWithContext(t *testing.T) {
	t.Parallel()
	address, arrived, gone := hung(t)
	c := newClient(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	resp, err := c.Validate(ctx, mfa.Challenge{RequestID: "r"}, nil)
	if !errors.Is(err, context.Canceled) {
		if err == nil {
			_ = resp.Body.Close()
		}
		t.Fatalf("error = %v, want %v", err, context.Canceled)
	}
	<-gone // Vault takes the push back
}

func TestValidateHasALimit(t *testing.T) {
	t.Parallel()
	address, arrived, gone := hung(t)
	c := newClientWith(t, address, Config{Timeout: 50 * time.Millisecond})
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("no error")
	}
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("error = %v, want a timeout", err)
	}
	left(arrived, gone)
}

// The limit of the call ends with its body, not with its headers.
func TestValidateBodyIsReadLater(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"auth":`)
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, `null}`)
	}))
	c := newClient(t, address)
	resp, err := c.Validate(t.Context(), mfa.Challenge{RequestID: "r"}, nil)
	close(more)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !json.Valid(body) {
		t.Errorf("body = %q, %v", body, err)
	}
}
