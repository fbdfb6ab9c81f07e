package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
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
	f := newFixture()
	lock := LockResult{Revoked: 1, Forgotten: 2, Prompts: 3, Notes: []string{"one is left to expire"}}
	f.Lock = func(context.Context) LockResult { return lock }
	ctx, c := t.Context(), f.client(t)

	status, err := c.Status(ctx)
	wantSame(t, fullStatus(), status, err)
	open, err := c.Prompts(ctx)
	wantSame(t, f.broker.Pending(), open, err)
	locked, err := c.Lock(ctx)
	wantSame(t, lock, locked, err)
	const odd = "p w\"\\\u00e9\U0001f600\u2028<&>"
	for _, tt := range []struct {
		what, answer string
		want         error
	}{
		{"an empty answer", " ", prompt.ErrAnswer},
		{"an answer that JSON cannot carry", "12\xff", prompt.ErrAnswer},
		{"an odd answer", odd, nil},
		{"the second answer", "1", prompt.ErrUnknown},
	} {
		if err := c.Answer(ctx, "abc234", tt.answer); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
	if got := f.broker.answerTo("abc234"); got != odd {
		t.Errorf("the answer arrived as %q", got)
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
	if got := len(f.broker.Pending()); got != 0 {
		t.Errorf("%d prompts are left", got)
	}
}

// wantSame compares what a client got with what the handler has.
func wantSame[T any](t *testing.T, want, got T, err error) {
	t.Helper()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
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

func TestNoAgent(t *testing.T) {
	t.Parallel()
	c := NewClient(filepath.Join(shortDir(t), "no", "folder"))
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("Status: %v, want %v", err, ErrNoAgent)
	}
	if _, err := c.Events(t.Context(), true); !errors.Is(err, ErrNoAgent) {
		t.Errorf("Events: %v, want %v", err, ErrNoAgent)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	f := newFixture()
	events, err := f.client(t).Events(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.broker.watchers(), []bool{true}) { // the agent counts on us before the first event
		t.Fatalf("attached = %v", f.broker.watchers())
	}
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	sent := []prompt.Event{
		{Time: at, Type: prompt.EventPrompt, Request: fullRequest("abc234")},
		{Time: at.Add(time.Second), Type: prompt.EventAnswered, Request: fullRequest("abc234")},
	}
	go func() {
		for _, e := range sent {
			f.broker.events <- e
		}
		close(f.broker.events) // the agent stops
	}()
	var got []prompt.Event
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if first := got[0]; first.Time.IsZero() || first.Type != Watching {
		t.Errorf("first event = %+v", first)
	}
	wantSame(t, append([]prompt.Event{{Time: got[0].Time, Type: Watching}}, sent...), got, nil)
	<-f.broker.left
}

// Each event is a line of its own and arrives when it happens.
func TestEventsAreLines(t *testing.T) {
	t.Parallel()
	f := newFixture()
	b := f.broker
	conn, err := dial(t.Context(), f.serve(t))
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
	defer resp.Body.Close()
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
	for name, leave := range map[string]func(events iter.Seq2[prompt.Event, error], cancel func()){
		"by context": func(events iter.Seq2[prompt.Event, error], cancel func()) {
			for _, err := range events {
				if err != nil {
					t.Errorf("error after leaving: %v", err)
				}
				cancel()
			}
		},
		"by break": func(events iter.Seq2[prompt.Event, error], _ func()) {
			for range events {
				break
			}
		},
		"without reading": func(_ iter.Seq2[prompt.Event, error], cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ended := newFixture(), make(chan struct{})
			h := NewHandler(f.HandlerConfig)
			c := NewClient(listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				h.ServeHTTP(w, r)
			})))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			events, err := c.Events(ctx, true)
			if err != nil {
				t.Fatal(err)
			}
			leave(events, cancel)
			<-f.broker.left
			<-ended
		})
	}
}

func TestEventsBreakOff(t *testing.T) {
	t.Parallel()
	c := NewClient(listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if writeEvent(w, eventLine{Event: prompt.Event{Type: Watching}}) == nil {
			panic(http.ErrAbortHandler)
		}
	})))
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
