package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
)

var _ Broker = (*prompt.Broker)(nil)

// A fakeBroker keeps prompts and tells one watcher what happens to them.
type fakeBroker struct {
	mu       sync.Mutex
	pending  []prompt.Request
	answers  map[string]string
	attached []bool
	left     chan struct{}     // a watcher has gone
	events   chan prompt.Event // goes to the watcher; closing it drops the watcher
}

func newFakeBroker(rs ...prompt.Request) *fakeBroker {
	return &fakeBroker{pending: rs, answers: map[string]string{}, left: make(chan struct{}, 8), events: make(chan prompt.Event)}
}

func (b *fakeBroker) Pending() []prompt.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.pending)
}

func (b *fakeBroker) take(id string) error {
	i := slices.IndexFunc(b.pending, func(r prompt.Request) bool { return r.ID == id })
	if i < 0 {
		return prompt.ErrUnknown
	}
	b.pending = slices.Delete(b.pending, i, i+1)
	return nil
}

func (b *fakeBroker) Answer(id, answer string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case answer == "break":
		return errors.New("cannot take " + answer)
	case strings.TrimSpace(answer) == "":
		return prompt.ErrAnswer
	}
	if err := b.take(id); err != nil {
		return err
	}
	b.answers[id] = answer
	return nil
}

// watchers says of each watcher that there was whether it attached.
func (b *fakeBroker) watchers() []bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.attached)
}

func (b *fakeBroker) answerTo(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers[id]
}

func (b *fakeBroker) Deny(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take(id)
}

func (b *fakeBroker) Watch(ctx context.Context, attach bool) <-chan prompt.Event {
	b.mu.Lock()
	b.attached = append(b.attached, attach)
	b.mu.Unlock()
	out := make(chan prompt.Event)
	go func() {
		defer func() { b.left <- struct{}{} }()
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case e, open := <-b.events:
				if !open {
					return
				}
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// fullRequest has a value in every field, so that one that is forgotten in the
// JSON form shows.
func fullRequest(id string) prompt.Request {
	return prompt.Request{
		ID: id, Kind: prompt.Passcode, Rule: "prod-kv", Vault: "corp", Namespace: "ns1", Path: "kv/data/prod/db",
		Operation: "read", Method: "corp_totp", MethodType: "totp", Digits: 6, Choices: []string{"a", "b"}, Attempt: 2, Attempts: 3,
		Message:   "wrong code",
		Number:    "42",
		Requester: prompt.Requester{PID: 4711, UID: 1000, Exe: "/usr/bin/terraform", Chain: []string{"terraform", "zsh"}, Claim: "terraform plan", Hidden: true, MayBe: []prompt.Candidate{{PID: 9, Name: "vault"}}},
		Deadline:  time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Queued:    4,
		WithCode:  prompt.WithCode{Method: "corp_totp", Digits: 6},
	}
}

// agent serves cfg on a unix socket until the test ends.
func agent(t *testing.T, cfg HandlerConfig) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "su") // t.TempDir can be longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: NewHandler(cfg), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return socket
}

// raw sends a request to a handler without a client's help.
func raw(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPromptKeepsEveryField(t *testing.T) {
	t.Parallel()
	want := fullRequest("abc234")
	want.Enrolment = fullEnrolment()
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test's request has no %s", v.Type().Field(i).Name)
		}
	}
	b, err := json.Marshal(NewPrompt(want))
	if err != nil {
		t.Fatal(err)
	}
	var p Prompt
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	want.Enrolment = nil // it has a way of its own: see TestEnrolment
	if diff := cmp.Diff(want, p.Request()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPromptOnTheWire: clients of an older version read what this one writes.
func TestPromptOnTheWire(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]prompt.Request{
		`{"id":"abc234","kind":"passcode","rule":"prod-kv","vault":"corp","namespace":"ns1","path":"kv/data/prod/db","operation":"read",` +
			`"method":"corp_totp","method_type":"totp","digits":6,"choices":["a","b"],"attempt":2,"attempts":3,"message":"wrong code","number":"42",` +
			`"requester":{"pid":4711,"uid":1000,"exe":"/usr/bin/terraform","chain":["terraform","zsh"],"claim":"terraform plan","hidden":true,"may_be":[{"pid":9,"name":"vault"}]},` +
			`"deadline":"2030-01-02T03:04:05Z","queued":4,"with":{"method":"corp_totp","digits":6}}`: fullRequest("abc234"),
		`{"id":"","kind":"","rule":"","vault":"","namespace":"","path":"","operation":"","method":"","method_type":"",` +
			`"digits":0,"choices":[],"attempt":0,"attempts":0,"message":"","number":"",` +
			`"requester":{"pid":0,"uid":0,"exe":"","chain":[],"claim":""},"deadline":"0001-01-01T00:00:00Z","queued":0}`: {},
	} {
		b, err := json.Marshal(NewPrompt(r))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(b)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestJSONHasEveryNameAndNoNull(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(NewPrompt(prompt.Request{}))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"id", "kind", "rule", "vault", "namespace", "path", "operation", "method", "method_type",
		"digits", "choices", "attempt", "attempts", "message", "number", "requester", "deadline",
	} {
		if _, ok := got[name]; !ok {
			t.Errorf("prompt has no %q", name)
		}
	}
	requester, _ := got["requester"].(map[string]any)
	for _, name := range []string{"pid", "uid", "exe", "chain"} {
		if _, ok := requester[name]; !ok {
			t.Errorf("requester has no %q", name)
		}
	}
	status, err := json.Marshal(Status{Rules: []Rule{{}}}.complete())
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string][]byte{"prompt": b, "status": status} {
		if bytes.Contains(text, []byte("null")) {
			t.Errorf("%s has a null: %s", what, text)
		}
	}
}

// testCode is what must never come back or be logged.
const testCode = "918273"

type routeTest struct {
	name           string
	method, target string
	body           string
	header         []string
	status         int
	want           string // in the body
}

func routeTests() []routeTest {
	const code = testCode
	big := `{"answer":"` + strings.Repeat("1", maxBody) + `"}`
	return []routeTest{
		{"status", "GET", "/v1/status", "", nil, 200, `"version":"1.0.0"`},
		{"prompts", "GET", "/v1/prompts", "", nil, 200, `{"prompts":[{"id":"abc234"`},
		{"answer", "POST", "/v1/prompts/abc234/answer", `{"answer":"` + code + `"}`, nil, 204, ""},
		{"answer, more members", "POST", "/v1/prompts/abc234/answer", `{"answer":"` + code + `","by":"me"}`, nil, 204, ""},
		{"answer of an unknown prompt", "POST", "/v1/prompts/zzz/answer", `{"answer":"` + code + `"}`, nil, 404, "no such prompt"},
		{"empty answer", "POST", "/v1/prompts/abc234/answer", `{"answer":" "}`, nil, 400, "does not fit"},
		{"no answer", "POST", "/v1/prompts/abc234/answer", `{}`, nil, 400, "must be JSON"},
		{"null answer", "POST", "/v1/prompts/abc234/answer", `{"answer":null}`, nil, 400, "must be JSON"},
		{"number", "POST", "/v1/prompts/abc234/answer", `{"answer":` + code + `}`, nil, 400, "must be JSON"},
		{"bare code", "POST", "/v1/prompts/abc234/answer", code, nil, 400, "must be JSON"},
		{"no body", "POST", "/v1/prompts/abc234/answer", "", nil, 400, "must be JSON"},
		{"two objects", "POST", "/v1/prompts/abc234/answer", `{"answer":"` + code + `"}{}`, nil, 400, "must be JSON"},
		{"invalid UTF-8", "POST", "/v1/prompts/abc234/answer", "{\"answer\":\"" + code + "\xff\"}", nil, 400, "must be JSON"},
		{"lone surrogate", "POST", "/v1/prompts/abc234/answer", `{"answer":"` + code + `\ud800"}`, nil, 400, "must be JSON"},
		{"too large", "POST", "/v1/prompts/abc234/answer", big, nil, 413, "64 KiB"},
		{"broken broker", "POST", "/v1/prompts/abc234/answer", `{"answer":"break"}`, nil, 500, "see its log"},
		{"deny", "POST", "/v1/prompts/abc234/deny", "", nil, 204, ""},
		{"deny an unknown prompt", "POST", "/v1/prompts/zzz/deny", "", nil, 404, "no such prompt"},
		{"lock", "POST", "/v1/lock", "", nil, 200, `"revoked":2`},
		{"another path", "GET", "/v1/sys/health", "", nil, 404, "no such path"},
		{"the root", "GET", "/", "", nil, 404, "no such path"},
		{"lock by GET", "GET", "/v1/lock", "", nil, 405, "use POST"},
		{"answer by GET", "GET", "/v1/prompts/abc234/answer", "", nil, 405, "use POST"},
		{"answer by PUT", "PUT", "/v1/prompts/abc234/answer", `{"answer":"` + code + `"}`, nil, 405, "use POST"},
		{"status by POST", "POST", "/v1/status", "", nil, 405, "use GET"},
		{"events by POST", "POST", "/v1/events", "", nil, 405, "use GET"},
		{"Origin", "GET", "/v1/status", "", []string{"Origin", "https://evil.test"}, 403, "browser"},
		{"null Origin", "POST", "/v1/lock", "", []string{"Origin", "null"}, 403, "browser"},
		{"Referer", "GET", "/v1/status", "", []string{"Referer", "https://evil.test"}, 403, "browser"},
		{"Sec-Fetch", "POST", "/v1/prompts/abc234/answer", `{"answer":"` + code + `"}`, []string{"sec-fetch-mode", "no-cors"}, 403, "browser"},
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := func() http.Handler {
		return NewHandler(HandlerConfig{
			Prompts: newFakeBroker(fullRequest("abc234")),
			Status:  func(context.Context) Status { return Status{Version: "1.0.0", PID: 7} },
			Lock:    func(context.Context) (LockResult, error) { return LockResult{Revoked: 2}, nil },
			Log:     slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
	}
	for _, tt := range routeTests() {
		t.Run(tt.name, func(t *testing.T) {
			w := raw(h(), tt.method, tt.target, tt.body, tt.header...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Fatalf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.want)
			}
			if strings.Contains(w.Body.String(), testCode) {
				t.Errorf("the answer comes back: %s", w.Body)
			}
			if tt.status < 400 {
				return
			}
			var b errorBody
			dec := json.NewDecoder(w.Body)
			dec.DisallowUnknownFields()
			if err := dec.Decode(&b); err != nil || len(b.Errors) != 1 {
				t.Errorf("errors = %v, %v, want one", b.Errors, err)
			}
		})
	}
	if strings.Contains(log.String(), testCode) {
		t.Errorf("the answer is in the log:\n%s", &log)
	}
}

func TestLockOutlivesItsClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	h := NewHandler(HandlerConfig{Lock: func(ctx context.Context) (LockResult, error) {
		cancel() // the client leaves in the middle
		if _, limited := ctx.Deadline(); !limited {
			t.Error("lock may take for ever")
		}
		return LockResult{}, ctx.Err()
	}})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/lock", nil).WithContext(ctx))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"notes":[]`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestLockFails(t *testing.T) {
	t.Parallel()
	h := NewHandler(HandlerConfig{Lock: func(context.Context) (LockResult, error) {
		return LockResult{}, errors.New("inner reason")
	}})
	w := raw(h, http.MethodPost, "/v1/lock", "")
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "inner") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// FuzzAnswer states that what a client encodes is what the broker gets, that
// whatever is accepted survives that way unchanged, and that no refusal repeats
// what was sent.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"answer":"123456"}`, `{"answer":"a\"\\\u0000é"}`, `{"Answer":"1"}`, `{"answer":"1","answer":"2"}`,
		`{"answer":"\ud83d\ude00"}`, `{"answer":"\ud800"}`, `[]`, `null`, "\xff", `{"answer":{}}`,
	} {
		f.Add([]byte(s))
	}
	roundTrip := func(answer string) (string, error) {
		b, err := json.Marshal(answerBody{&answer})
		if err != nil {
			return "", err
		}
		return decodeAnswer(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if answer, err := decodeAnswer(body); err == nil {
			if again, err := roundTrip(answer); err != nil || again != answer {
				t.Errorf("%q became %q, %v", answer, again, err)
			}
		} else if err != errBody {
			t.Errorf("error says more than it may: %v", err)
		}
		typed := string(body)
		got, err := roundTrip(typed)
		if clean := strings.ToValidUTF8(typed, "\ufffd") == typed && !strings.ContainsRune(typed, '\ufffd'); clean != (err == nil) {
			t.Errorf("typed %q: error %v", typed, err)
		} else if clean && got != typed {
			t.Errorf("typed %q, got %q", typed, got)
		}
	})
}

func discard(r io.ReadCloser) { _, _ = io.Copy(io.Discard, r); _ = r.Close() }
