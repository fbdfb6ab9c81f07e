package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
)

func TestClient(t *testing.T) {
	t.Parallel()
	b := newFakeBroker(fullRequest("abc234"), fullRequest("def567"))
	want := Status{
		Version: "1.0.0", PID: 7, Started: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), ConfigFile: "/c", ConfigError: "bad",
		Listeners: []Listener{{Network: "tcp", Address: "127.0.0.1:8100", Vault: "corp", RequireHeader: true, Check: "sock_diag"}},
		Vaults:    []Vault{{Name: "corp", Address: "https://v", Up: true, Version: "1.21", Sealed: true, Error: "e"}},
		Rules:     []Rule{{Name: "r", Paths: []string{"p"}, Capabilities: []string{"read"}, Namespace: "n", Methods: []string{"m"}, Grant: "header"}},
		Tokens:    []Token{{Rule: "r", Vault: "corp", Namespace: "n", Caller: "0a1b2c3d", Expires: time.Date(2030, 1, 1, 0, 5, 0, 0, time.UTC), Uses: 3}},
		Prompts:   NewPrompts(b.Pending()), Attached: 1, Prompters: []string{"attached"},
		Cache: Cache{Store: "keyring", State: "memory", Reason: "locked"}, Notes: []string{"n"},
		Suggestions: []Suggestion{{Vault: "corp", Path: "kv/x", Operations: []string{"read"}, Count: 2, Rule: "step_up"}},
	}
	lock := LockResult{Revoked: 1, Forgotten: 2, Prompts: 3, Notes: []string{"one is left to expire"}}
	c := NewClient(agent(t, HandlerConfig{
		Prompts: b,
		Status:  func(context.Context) Status { return want },
		Lock:    func(context.Context) (LockResult, error) { return lock, nil },
	}))
	ctx := t.Context()

	if got, err := c.Status(ctx); err != nil || !cmp.Equal(got, want) {
		t.Errorf("Status: %v\n%s", err, cmp.Diff(want, got))
	}
	if got, err := c.Prompts(ctx); err != nil || !cmp.Equal(got, want.Prompts) {
		t.Errorf("Prompts: %v\n%s", err, cmp.Diff(want.Prompts, got))
	}
	if got, err := c.Lock(ctx); err != nil || !cmp.Equal(got, lock) {
		t.Errorf("Lock: %v\n%s", err, cmp.Diff(lock, got))
	}
	if err := c.Answer(ctx, "abc234", " "); !errors.Is(err, prompt.ErrAnswer) {
		t.Errorf("an empty answer: %v", err)
	}
	if err := c.Answer(ctx, "abc234", "12\xff"); !errors.Is(err, prompt.ErrAnswer) {
		t.Errorf("an answer that JSON cannot carry: %v", err)
	}
	const odd = "p w\"\\\u00e9\U0001f600\u2028<&>"
	if err := c.Answer(ctx, "abc234", odd); err != nil || b.answerTo("abc234") != odd {
		t.Errorf("Answer: %v, arrived as %q", err, b.answerTo("abc234"))
	}
	if err := c.Answer(ctx, "abc234", "1"); !errors.Is(err, prompt.ErrUnknown) {
		t.Errorf("the second answer: %v", err)
	}
	if err := c.Deny(ctx, "def567"); err != nil {
		t.Errorf("Deny: %v", err)
	}
	for _, id := range []string{"def567", "../../lock", "a/b", "%2e", "?x", ""} {
		if err := c.Deny(ctx, id); !errors.Is(err, prompt.ErrUnknown) && id != "" {
			t.Errorf("Deny(%q) = %v, want %v", id, err, prompt.ErrUnknown)
		} else if err == nil {
			t.Errorf("Deny(%q): no error", id)
		}
	}
	if got := len(b.Pending()); got != 0 {
		t.Errorf("%d prompts are left", got)
	}
}

func TestClientRefusedByServer(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"JSON": func(w http.ResponseWriter, _ *http.Request) { writeError(w, 500, "no") },
		"text": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v1/elsewhere", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := NewClient(listen(t, h)).Answer(t.Context(), "abc234", "123456")
			if e, ok := errors.AsType[*Error](err); !ok || e.Error() == "" {
				t.Errorf("error = %v, want an *Error", err)
			}
			if strings.Contains(fmt.Sprint(err), "123456") {
				t.Errorf("error has the answer: %v", err)
			}
		})
	}
}

// listen serves any handler on a socket.
func listen(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return socket
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "su")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestNoAgent(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	_ = l.Close()
	for _, socket := range []string{stale, filepath.Join(dir, "none"), filepath.Join(dir, "no", "folder")} {
		c := NewClient(socket)
		if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoAgent) {
			t.Errorf("Status at %s: %v, want %v", socket, err, ErrNoAgent)
		}
		if _, err := c.Events(t.Context(), true); !errors.Is(err, ErrNoAgent) {
			t.Errorf("Events at %s: %v, want %v", socket, err, ErrNoAgent)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(stale, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if _, err := NewClient(path).Status(t.Context()); err == nil || errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("Status at %s: %v, want that it is not a socket", path, err)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := newFakeBroker()
	c := NewClient(agent(t, HandlerConfig{Prompts: b}))
	events, err := c.Events(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.watchers(), []bool{true}) { // the agent counts on us before the first event
		t.Fatalf("attached = %v", b.watchers())
	}
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	sent := []prompt.Event{
		{Time: at, Type: prompt.EventPrompt, Request: fullRequest("abc234")},
		{Time: at.Add(time.Second), Type: prompt.EventAnswered, Request: fullRequest("abc234")},
	}
	go func() {
		for _, e := range sent {
			b.events <- e
		}
		close(b.events) // the agent stops
	}()
	var got []prompt.Event
	first := true
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if first {
			if e.Type != Watching || e.Prompt != nil || e.Time.IsZero() {
				t.Errorf("first event = %+v", e)
			}
			first = false
			continue
		}
		got = append(got, prompt.Event{Time: e.Time, Type: e.Type, Request: e.Prompt.Request()})
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("(-sent +got):\n%s", diff)
	}
	<-b.left
}

// Each event is a line of its own and arrives when it happens.
func TestEventsAreLines(t *testing.T) {
	t.Parallel()
	b := newFakeBroker()
	socket := agent(t, HandlerConfig{Prompts: b})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer discard(resp.Body)
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"type":"watching"`) {
		t.Fatalf("first line = %q", lines.Text())
	}
	if !slices.Equal(b.watchers(), []bool{false}) {
		t.Errorf("attached = %v", b.watchers())
	}
	r := fullRequest("abc234")
	r.Message = "two\nlines"
	b.events <- prompt.Event{Type: prompt.EventPrompt, Request: r}
	if !lines.Scan() || !strings.Contains(lines.Text(), `"id":"abc234"`) || !strings.HasSuffix(lines.Text(), "}") {
		t.Errorf("second line = %q", lines.Text())
	}
	close(b.events)
	if lines.Scan() {
		t.Errorf("after the end: %q", lines.Text())
	}
}

// A client that leaves is forgotten: its watch ends, and with it the handler.
func TestEventsEndWithTheClient(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		leave func(t *testing.T, c *Client)
	}{
		{"by context", func(t *testing.T, c *Client) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			events, err := c.Events(ctx, true)
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range events {
				if err != nil {
					t.Errorf("error after leaving: %v", err)
				}
				cancel()
			}
		}},
		{"by break", func(t *testing.T, c *Client) {
			events, err := c.Events(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			for range events {
				break
			}
		}},
		{"without reading", func(t *testing.T, c *Client) {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := c.Events(ctx, true); err != nil {
				t.Fatal(err)
			}
			cancel()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newFakeBroker()
			var ended = make(chan struct{})
			h := NewHandler(HandlerConfig{Prompts: b})
			c := NewClient(listen(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				h.ServeHTTP(w, r)
			}))
			tt.leave(t, c)
			<-b.left
			<-ended
		})
	}
}

func TestEventsBreakOff(t *testing.T) {
	t.Parallel()
	c := NewClient(listen(t, func(w http.ResponseWriter, _ *http.Request) {
		if writeEvent(w, eventLine{Event: Event{Type: Watching}}) == nil {
			panic(http.ErrAbortHandler)
		}
	}))
	events, err := c.Events(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var last error
	n := 0
	for _, err := range events {
		n, last = n+1, err
	}
	if n != 2 || last == nil {
		t.Errorf("%d events and then %v, want one and an error", n, last)
	}
}
