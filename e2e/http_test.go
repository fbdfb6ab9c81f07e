package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A call is one HTTP request, spelled byte for byte.
type call struct {
	method, target string // as on the request line
	header         []string
	body           string
}

// got is the answer to a call.
type got struct {
	status int
	header http.Header
	body   string
}

// send writes the call over a connection of its own, so that no client library
// cleans its path or adds a header.
func (c call) send(t *testing.T, addr string) got {
	t.Helper()
	host := strings.TrimPrefix(addr, "http://")
	conn, err := net.DialTimeout("tcp", host, 10*time.Second)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(4*patience)))
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", c.method, c.target, host)
	for _, h := range c.header {
		b.WriteString(h + "\r\n")
	}
	if c.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(c.body))
	}
	b.WriteString("\r\n" + c.body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Fatalf("%s %s: %v", c.method, c.target, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: c.method})
	if err != nil {
		t.Fatalf("%s %s: %v", c.method, c.target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", c.method, c.target, err)
	}
	return got{resp.StatusCode, resp.Header, string(text)}
}

// request is a call with a token; "" is none.
func request(method, path, token string, header ...string) call {
	if token != "" {
		header = append(header, tokenHeader(token))
	}
	return call{method: method, target: "/v1/" + path, header: header}
}

// with is the call with this body.
func (c call) with(body string) call {
	c.body = body
	return c
}

// async runs something beside the test.
func async[T any](do func() T) <-chan T {
	done := make(chan T, 1)
	go func() { done <- do() }()
	return done
}

// async sends the call beside the test.
func (c call) async(t *testing.T, addr string) <-chan got {
	return async(func() got { return c.send(t, addr) })
}

// together sends the call n times at once.
func (c call) together(t *testing.T, addr string, n int) []got {
	t.Helper()
	answers := make([]got, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = c.send(t, addr) })
	}
	all.Wait()
	return answers
}

// unwrap opens what a wrapped answer holds.
func (g got) unwrap(t *testing.T, addr string) got {
	t.Helper()
	opened := request("POST", "sys/wrapping/unwrap", g.text(t, "wrap_info", "token")).send(t, addr)
	opened.wantPlain(t, 200)
	return opened
}

// text is a string in the body, found by the names of its objects.
func (g got) text(t *testing.T, names ...string) string {
	t.Helper()
	s, _ := dig(g.json(t), names...).(string)
	return s
}

// json decodes the body.
func (g got) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(g.body), &m); err != nil {
		t.Fatalf("status %d, not JSON: %v\n%s", g.status, err, g.body)
	}
	return m
}

// errors are the strings of Vault's error body.
func (g got) errors(t *testing.T) []string {
	t.Helper()
	return texts(g.json(t)["errors"])
}

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// wantStep checks an answer that took part in a step-up: its status, its outcome
// and, for a failure, that the last error is ours.
func (g got) wantStep(t *testing.T, status int, outcome string) {
	t.Helper()
	if g.status != status || g.header.Get("Stepup-Outcome") != outcome {
		t.Fatalf("status %d, outcome %q; want %d, %q\n%s", g.status, g.header.Get("Stepup-Outcome"), status, outcome, g.body)
	}
	if status == http.StatusOK || status == http.StatusNoContent {
		return
	}
	errs := g.errors(t)
	ours := slices.IndexFunc(errs, func(s string) bool { return strings.HasPrefix(s, "stepup: ") })
	if ours < 0 || ours != len(errs)-1 {
		t.Errorf("the last error does not start with \"stepup: \": %q", errs)
	}
}

// wantErrors checks a refusal with exactly these errors.
func (g got) wantErrors(t *testing.T, status int, errors ...string) {
	t.Helper()
	if have := g.errors(t); g.status != status || !slices.Equal(have, errors) {
		t.Errorf("status %d, errors %q; want %d, %q", g.status, have, status, errors)
	}
}

// wantPlain checks an answer that no step-up touched.
func (g got) wantPlain(t *testing.T, status int) {
	t.Helper()
	if g.status != status || g.header.Get("Stepup-Outcome") != "" || strings.Contains(g.body, "stepup: ") {
		t.Fatalf("status %d, outcome %q, want Vault's own %d\n%s", g.status, g.header.Get("Stepup-Outcome"), status, g.body)
	}
}

func (g got) wantStatus(t *testing.T, status int) {
	t.Helper()
	if g.status != status {
		t.Fatalf("status %d, outcome %q, want %d\n%s", g.status, g.header.Get("Stepup-Outcome"), status, g.body)
	}
}

func tokenHeader(token string) string { return "X-Vault-Token: " + token }
