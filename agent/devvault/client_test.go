package devvault

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A clock is a wall clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A client sends requests to a Server without a network.
type client struct {
	t     *testing.T
	h     http.Handler
	token string
	ctx   context.Context
	clock *clock // of the server, unless the test brought another
}

func (c client) as(token string) client { c.token = token; return c }

func (c client) in(t *testing.T) client { c.t = t; return c }

// login logs in at userpass.
func (c client) login(user string, headers ...string) answer {
	c.t.Helper()
	return c.do("POST", "/v1/auth/userpass/login/"+user, `{"password":"pw"}`, headers...)
}

// start sends a request beside the test.
func (c client) start(method, target string, body any, headers ...string) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- c.do(method, target, body, headers...) }()
	return done
}

// check ends the test when a step of its setup fails.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends body as it is when it is a string, else as JSON. Headers are in pairs.
func (c client) do(method, target string, body any, headers ...string) answer {
	c.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		reader = strings.NewReader(string(raw))
	}
	ctx := c.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	r := httptest.NewRequestWithContext(ctx, method, target, reader)
	if c.token != "" {
		r.Header.Set("X-Vault-Token", c.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// want fails the test unless the answer has this status and body, with what differs
// between two runs replaced by upper-case words.
func (a answer) want(t *testing.T, status int, body string) {
	t.Helper()
	if got := normal(a.body); a.status != status || got != body {
		t.Errorf("got  %d %s\nwant %d %s", a.status, got, status, body)
	}
}

// refused fails the test unless the answer is an error with exactly this text.
func (a answer) refused(t *testing.T, status int, text string) {
	t.Helper()
	raw, err := json.Marshal(map[string][]string{"errors": {text}})
	check(t, err)
	if want := string(raw) + "\n"; a.status != status || a.body != want {
		t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, status, want)
	}
}

func (a answer) wantStatus(t *testing.T, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("got %d %s, want %d", a.status, a.body, status)
	}
}

// wantAnswer checks a success by its status, a refusal by its text as well; 404 has none.
func (a answer) wantAnswer(t *testing.T, status int, text string) {
	t.Helper()
	if status < 400 || status == http.StatusNotFound {
		a.wantStatus(t, status)
		return
	}
	a.refused(t, status, text)
}

// wantAt checks a field, found by the keys of its objects.
func (a answer) wantAt(t *testing.T, want any, keys ...string) {
	t.Helper()
	if got := a.at(t, keys...); got != want {
		t.Errorf("%q is %v in %d %s, want %v", keys, got, a.status, a.body, want)
	}
}

// wantLogin checks a login: its token, or the text of its refusal.
func (a answer) wantLogin(t *testing.T, status int, text string) {
	t.Helper()
	if status != http.StatusOK {
		a.refused(t, status, text)
	} else if a.status != status || a.text(t, "auth", "client_token") == "" {
		t.Errorf("got %d %s, want a token", a.status, a.body)
	}
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	return out
}

// at walks into JSON objects, nil when there is nothing.
func (a answer) at(t *testing.T, keys ...string) any {
	t.Helper()
	var v any = a.json(t)
	for _, k := range keys {
		object, _ := v.(map[string]any)
		v = object[k]
	}
	return v
}

func (a answer) text(t *testing.T, keys ...string) string {
	t.Helper()
	s, _ := a.at(t, keys...).(string)
	return s
}

var variable = []struct {
	re   *regexp.Regexp
	word string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`hvs\.[A-Z0-9]+`), "TOKEN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`accessor":"[A-Z0-9]{24}"`), `accessor":"ACCESSOR"`},
}

func normal(body string) string {
	for _, v := range variable {
		body = v.re.ReplaceAllString(body, v.word)
	}
	return body
}

// The people and secrets of most tests.
func newFixture(t *testing.T, cfg Config) (*Server, client) {
	t.Helper()
	cfg.RootToken = "root"
	clock := newClock()
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	s := New(cfg)
	t.Cleanup(s.Close)
	s.AddPolicy("dev",
		PathRule{Path: "secret/data/*", Capabilities: []string{"read", "create"}},
		PathRule{Path: "secret/data/deny", Capabilities: []string{"deny"}},
		PathRule{Path: "secret/metadata/*", Capabilities: []string{"list"}},
	)
	s.AddUser("userpass", "alice", "pw", "dev")
	s.AddUser("userpass", "bob", "pw", "dev")
	check(t, s.PutSecret("secret/x", map[string]any{"a": "b"}))
	return s, client{t: t, h: s, token: "root", clock: clock}
}

const envelopeHead = `{"request_id":"UUID","lease_id":"","renewable":false,"lease_duration":0,`
