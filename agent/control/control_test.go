package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
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
		Allows:    "this, and all of kv/data/prod/*, for up to 5 min",
		Keeps:     []prompt.KeepChoice{{Word: prompt.KeepLock, Means: "until stepup lock, for up to 15 min"}},
		Number:    "42",
		Requester: prompt.Requester{PID: 4711, UID: 1000, Exe: "/usr/bin/terraform", Chain: []string{"terraform", "zsh"}, Claim: "terraform plan", Hidden: true, Origin: prompt.OriginUser, MayBe: []prompt.Candidate{{PID: 9, Name: "vault"}}},
		Deadline:  time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Queued:    4,
		WithCode:  prompt.WithCode{Method: "corp_totp", Digits: 6},
	}
}

// A fixture is what a handler gives access to: two prompts, leases that only count,
// and answers by the name of what is asked for.
type fixture struct {
	HandlerConfig
	broker   *fakeBroker
	leases   *leases
	obtained []Obtain
	log      *bytes.Buffer
}

func newFixture() *fixture {
	f := &fixture{broker: newFakeBroker(fullRequest("abc234"), fullRequest("def567")), leases: newLeases(), log: &bytes.Buffer{}}
	failures := map[string]error{
		"elsewhere": fmt.Errorf("x: %w", ErrNoVault), "absent": ErrNoRule, "header": fmt.Errorf("rule: %w", ErrHeaderGrant),
		"/": ErrNoPath, "broken": errors.New("with " + testCode),
	}
	f.HandlerConfig = HandlerConfig{
		Prompts: f.broker,
		Leases:  f.leases,
		Status:  func(context.Context) Status { return fullStatus() },
		Lock:    func(context.Context) LockResult { return LockResult{Revoked: 2} },
		Resume:  func(context.Context) (Resumed, error) { return Resumed{Rules: 1}, nil },
		Obtain: func(_ context.Context, o Obtain) (Obtained, error) {
			f.obtained = append(f.obtained, o)
			if o.Rule == "no" {
				return Obtained{Outcome: "denied", Message: "stepup: no"}, nil
			}
			return Obtained{Outcome: "approved"}, failures[o.Rule]
		},
		Explain: func(_ context.Context, x Explain) (Explanation, error) {
			return Explanation{Path: x.Path, Rules: []RuleReason{{Rule: Rule{Name: "r"}}}}, failures[x.Path]
		},
		Log: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return f
}

// serve serves the handler on a unix socket until the test ends.
func (f *fixture) serve(t *testing.T) (socket string) {
	t.Helper()
	return listen(t, NewHandler(f.HandlerConfig))
}

func (f *fixture) client(t *testing.T) *Client {
	t.Helper()
	return NewClient(f.serve(t))
}

func listen(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "control.sock")
	l := listenAt(t, socket)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
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

// shortDir is removed with the test. The names of t.TempDir can be longer than a
// socket's path may be.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "su")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
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

// wantFull checks that every field of a struct has a value, so that one that is
// forgotten on the wire shows.
func wantFull(t *testing.T, v any) {
	t.Helper()
	for field, value := range reflect.ValueOf(v).Fields() {
		if value.IsZero() {
			t.Errorf("the test's %T has no %s", v, field.Name)
		}
	}
}

func fullStatus() Status {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return Status{
		Version: "1.0.0", PID: 7, Started: at, ConfigFile: "/c", ConfigFiles: []string{"/etc/c", "/c"}, ConfigError: "bad", Reload: &Reload{Time: at, Changes: "c", Error: "e"},
		Telemetry: "127.0.0.1:9108", Textfile: "/t",
		Listeners: []Listener{{Network: "tcp", Address: "127.0.0.1:8100", Vault: "corp", RequireHeader: true, Check: "sock_diag", PID: 9}},
		Vaults:    []Vault{{Name: "corp", Address: "https://v", Namespace: "ns", Up: true, Version: "1.21", Sealed: true, Error: "e"}},
		Rules:     []Rule{{Name: "r", Paths: []string{"p"}, Capabilities: []string{"read"}, Namespace: "n", Methods: []string{"m"}, Grant: "header", ControlGroup: "1m0s"}},
		Tokens:    []Token{{Rule: "r", Vault: "corp", Namespace: "n", Caller: "0a1b2c3d", Expires: at.Add(5 * time.Minute), Uses: 3, Scope: "terminal pts/3 of zsh (pid 9)", Keep: "lock"}},
		Prompts:   []prompt.Request{fullRequest("abc234")}, Attached: 1, Prompters: []string{"attached"}, CannotAsk: map[string]string{"desktop": "no graphical session"},
		Cache: Cache{Store: "keyring", State: "memory", Reason: "locked"}, Audit: &Audit{File: "/a", Place: "/a", Error: "full", Since: at, Lost: 2}, Notes: []string{"n"},
		Suggestions: []Suggestion{{Vault: "corp", Namespace: "n", Path: "kv/x", Operations: []string{"read"}, Count: 2, Last: at, Rule: "step_up"}},
	}
}

// TestWire: clients of an older version read what this one writes, byte for byte.
// "go test ./agent/control -update" writes the file anew.
func TestWire(t *testing.T) {
	t.Parallel()
	h := NewHandler(newFixture().HandlerConfig)
	empty := NewHandler(HandlerConfig{
		Prompts: newFakeBroker(prompt.Request{}), Leases: newLeases(), Log: slog.New(slog.DiscardHandler),
		Status: func(context.Context) Status { return Status{Rules: []Rule{{}}, Prompts: []prompt.Request{{}}} },
	})
	wantFull(t, fullStatus())
	var got strings.Builder
	for _, tt := range []struct {
		h      http.Handler
		target string
	}{{h, "/v1/status"}, {h, "/v1/prompts"}, {h, "/v1/listeners"}, {empty, "/v1/status"}, {empty, "/v1/prompts"}} {
		text := raw(tt.h, http.MethodGet, tt.target, "").Body.String()
		if strings.Contains(text, "null") {
			t.Errorf("%s has a null: %s", tt.target, text)
		}
		fmt.Fprintf(&got, "%s\n%s", tt.target, text)
	}
	file := filepath.Join("testdata", "wire.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if diff := cmp.Diff(string(want), got.String()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

var update = flag.Bool("update", false, "write the golden file")

func TestPromptKeepsEveryField(t *testing.T) {
	t.Parallel()
	want := fullRequest("abc234")
	want.Enrolment = fullEnrolment()
	want.NotBefore = want.Deadline // the broker alone needs it
	wantFull(t, want)
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got prompt.Request
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want.Enrolment = nil // it has a way of its own: see TestEnrolment
	want.NotBefore = time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
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
		{"answer of an unknown prompt", "POST", "/v1/prompts/zzz/answer", `{"answer":"` + code + `"}`, nil, 404, "no such question"},
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
		{"deny an unknown prompt", "POST", "/v1/prompts/zzz/deny", "", nil, 404, "no such question"},
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
		{"Sec-Fetch", "POST", "/v1/prompts/abc234/answer", `{"answer":"` + code + `"}`, []string{"sec-fetch-site", "none"}, 403, "browser"},
		{"Node's fetch", "POST", "/v1/lock", "", []string{"sec-fetch-mode", "cors"}, 200, `"revoked":2`},
		{"PUT of listeners", "PUT", "/v1/listeners", "", nil, 405, "use GET or POST"},
		{"listener without JSON", "POST", "/v1/listeners", "corp", nil, 400, "must be JSON"},
		{"obtain without a body", "POST", "/v1/stepup", "", nil, 400, "must be JSON"},
		{"obtain without JSON", "POST", "/v1/stepup", code, nil, 400, "must be JSON"},
		{"obtain without a rule", "POST", "/v1/stepup", `{"token":"` + code + `"}`, nil, 400, "must be JSON"},
		{"obtain without a token", "POST", "/v1/stepup", `{"rule":"r"}`, nil, 400, "must be JSON"},
		{"obtain of a number", "POST", "/v1/stepup", `{"rule":7,"token":"` + code + `"}`, nil, 400, "must be JSON"},
		{"obtain breaks", "POST", "/v1/stepup", `{"rule":"broken","token":"` + code + `"}`, nil, 500, wordsInternal},
		{"explain: lists are lists", "POST", "/v1/explain", `{"path":"kv/x","token":"` + code + `"}`, nil, 200, `"rules":[{"name":"r","paths":[],"capabilities":[],`},
		{"explain without a path", "POST", "/v1/explain", `{"token":"` + code + `"}`, nil, 400, `\"path\"`},
		{"explain without JSON", "POST", "/v1/explain", `{"path":"kv/x","token":"` + code, nil, 400, `\"path\"`},
		{"explain: no such vault", "POST", "/v1/explain", `{"path":"elsewhere"}`, nil, 404, ErrNoVault.Error()},
		{"explain: no path of Vault's", "POST", "/v1/explain", `{"path":"/"}`, nil, 400, ErrNoPath.Error()},
		{"explain breaks", "POST", "/v1/explain", `{"path":"broken","token":"` + code + `"}`, nil, 500, wordsInternal},
		{"explain: huge", "POST", "/v1/explain", `{"path":"` + strings.Repeat("x", maxBody) + `"}`, nil, 400, `\"path\"`},
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	for _, tt := range routeTests() {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			w := raw(NewHandler(f.HandlerConfig), tt.method, tt.target, tt.body, tt.header...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Fatalf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.want)
			}
			if strings.Contains(w.Body.String(), testCode) || strings.HasPrefix(tt.target, "/v1/prompts") && strings.Contains(f.log.String(), testCode) {
				t.Errorf("the answer comes back: %s, or is logged: %s", w.Body, f.log)
			}
			if _, allowed, ok := strings.Cut(tt.want, "use "); ok && w.Header().Get("Allow") != strings.ReplaceAll(allowed, " or ", ", ") {
				t.Errorf("Allow: %q", w.Header().Get("Allow"))
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
}

func TestLockOutlivesItsClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFixture()
	f.Lock = func(ctx context.Context) LockResult {
		cancel() // the client leaves in the middle
		if _, limited := ctx.Deadline(); !limited || ctx.Err() != nil {
			t.Errorf("lock may take for ever, or ends with its client: %v", ctx.Err())
		}
		return LockResult{}
	}
	w := httptest.NewRecorder()
	NewHandler(f.HandlerConfig).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/lock", nil).WithContext(ctx))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"notes":[]`) {
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
		`{"answer":"1","keep":"once"}`, `{"answer":"1","keep":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	roundTrip := func(answer string) (string, error) {
		b, err := json.Marshal(answerBody{Answer: &answer})
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

// Each route, and each field of the status, is in the page for other programs.
func TestTheAPIIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/control-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, allowed := range new(handler).routes() {
		for method := range allowed {
			if !strings.Contains(string(page), "| `"+method+" "+path+"`") {
				t.Errorf("%s %s is not in docs/control-api.md", method, path)
			}
		}
	}
	for field := range reflect.TypeFor[Status]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("status: %s is not in docs/control-api.md", name)
		}
	}
}
