package relay_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// client is not the default one, whose idle connections every server of httptest
// closes at its end, under the requests of other tests.
var client = &http.Client{
	Transport:     http.DefaultTransport.(*http.Transport).Clone(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the app saw a redirect") },
}

// A fixture is a relay between a test and an upstream that the test plays.
type fixture struct {
	url      string // of the relay
	resolver *resolver
	budget   *relay.Budget
	log      *syncBuffer

	closeIdle func() // the connections that the lane and net/http keep
}

// newFixture starts a relay to the server at address; changes may alter its Config.
func newFixture(t testing.TB, address string, changes ...func(*relay.Config)) *fixture {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{resolver: &resolver{}, log: &syncBuffer{}, budget: relay.NewBudget(1 << 30)}
	base, err := vault.NewTransport(vault.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.CloseIdleConnections)
	t.Cleanup(func() { f.givesBack(t) }) // whatever way the test's requests went
	c := relay.Config{
		Vault: "corp", Address: u, Base: base, LoginMFA: true, Budget: f.budget, DenialObserver: make(denialObserver, 100),
		Resolver: parts{f.resolver, noToken{}, &single{}, &mounts{}, &approver{}, &revocations{}},
		Log:      slog.New(slog.NewTextHandler(f.log, nil)),
	}
	for _, change := range changes {
		change(&c)
	}
	timeout := time.Minute
	if t, ok := c.Base.(*vault.Transport); ok {
		base, timeout = t, min(timeout, t.HTTP().ResponseHeaderTimeout)
	}
	c.Base = express.Transport{Base: c.Base}
	url, closeLane := serve(t, c, timeout)
	f.url, f.closeIdle = url, func() { closeLane(); base.CloseIdleConnections() }
	return f
}

// noLane is set for a run of all tests without an express lane.
const noLane = "STEPUP_TEST_NO_LANE"

// longWay is a header of requests that no express lane takes: so they leave a connection
// that net/http keeps.
const longWay = "X-Vault-Wrap-Ttl"

// serve serves a relay with an express lane in front of it.
func serve(t testing.TB, c relay.Config, timeout time.Duration) (url string, closeIdle func()) {
	t.Helper()
	r := relay.New(c)
	server := httptest.NewUnstartedServer(nil)
	server.Config.DisableGeneralOptionsHandler = true
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { express.Resume(w, q, r) })
	lane := &express.Lane{Handler: r, Route: express.NewRoute(express.Config{
		Host: c.Address.Host, Base: strings.TrimSuffix(c.Address.EscapedPath(), "/"), Namespace: c.Namespace,
		Dialer: dialer{c.Address.Host},
		Decide: r.Decide, Timeout: timeout, IdleTimeout: time.Minute, Fresh: vault.Fresh,
	})}
	closeIdle = lane.CloseIdle
	t.Cleanup(closeIdle)
	if _, without := c.DenialObserver.(withoutLane); without || c.Address.Scheme != "http" || os.Getenv(noLane) != "" {
		lane = nil
	}
	ctx := t.Context()
	front := express.NewFront(server.Listener, &express.Server{
		Admit:   func(net.Conn) bool { return true },
		Log:     c.Log,
		Lane:    func() *express.Lane { return lane },
		Context: func(net.Conn) context.Context { return ctx },
	})
	server.Listener = front
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ctx, _ = express.ConnContext(ctx, c)
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, closeIdle
}

// A dialer opens connections to an upstream.
type dialer struct{ addr string }

func (d dialer) Dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", d.addr)
}

func (dialer) Era() int { return 0 }

// withoutLane marks a Config that is served by net/http alone.
type withoutLane struct{ relay.DenialObserver }

// TestWithoutLane runs all tests once more, with net/http alone.
func TestWithoutLane(t *testing.T) {
	if os.Getenv(noLane) != "" || testing.Short() {
		t.Skip("is the run without it")
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=5m")
	cmd.Env = append(os.Environ(), noLane+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("without an express lane: %v\n%s", err, out)
	}
}

// noToken is a caller for which there is none.
type noToken struct{}

func (noToken) Cached(context.Context, rule.Match, secret.Secret) (*stepup.TokenUse, bool) {
	return nil, false
}

// givesBack waits until no body is kept. net/http may let go of one a moment after
// its request has ended.
func (f *fixture) givesBack(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); f.budget.Used() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of bodies are still kept", f.budget.Used())
		}
	}
}

// A reply is what an app gets.
type reply struct {
	Status        int
	Body, Outcome string
}

// send sends a request ("GET /v1/x"), with names and values of headers in turn.
func (f *fixture) send(t *testing.T, request, body string, header ...string) reply {
	t.Helper()
	resp, text := fetch(t, f.request(t, request, strings.NewReader(body), header...))
	return reply{resp.StatusCode, text, resp.Header.Get(relay.Outcome)}
}

// logIn sends a login.
func (f *fixture) logIn(t *testing.T, path string, header ...string) reply {
	t.Helper()
	return f.send(t, "POST "+path, `{"password":"p"}`, header...)
}

func (f *fixture) request(t *testing.T, request string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, f.url+target, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// fetch returns an answer with all of its body.
func fetch(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	// The next request begins on a connection of its own, where the lane may take it.
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// upstream starts a server that the relay talks to.
func upstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// answer is a handler that gives one answer, as JSON where no header says otherwise.
func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// gzipped is how a load balancer packs a text.
func gzipped(s string) string {
	var packed strings.Builder
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return packed.String()
}

// patterns are the paths of a rule.
func patterns(all ...string) (parsed []rule.Pattern) {
	for _, s := range all {
		p, err := rule.ParsePattern(s)
		if err != nil {
			panic(err)
		}
		parsed = append(parsed, p)
	}
	return parsed
}

// calls are those of a fake, in order.
type calls struct {
	mu  sync.Mutex
	all []string
}

func (c *calls) note(format string, a ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf(format, a...))
}

func (c *calls) noted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// resolver plays the part of package stepup.
type resolver struct {
	calls
	stepUp  func(m rule.Match, send stepup.Send) (*http.Response, mfa.Verdict)
	login   func(c mfa.Challenge) (*http.Response, mfa.Verdict)
	first   func(send stepup.Send) (*http.Response, mfa.Verdict, error)
	matches []rule.Match    // of each First
	context context.Context //nolint:containedctx // of the last StepUp
}

func (r *resolver) First(ctx context.Context, m rule.Match, _ secret.Secret, send stepup.Send) (stepup.Decision, error) {
	r.note("first %s", m.Request.Path)
	r.mu.Lock()
	r.matches = append(r.matches, m)
	r.mu.Unlock()
	if r.first != nil {
		resp, v, err := r.first(send)
		return decision(resp, v), err
	}
	resp, err := send(ctx, nil, cache.Token{})
	return stepup.PassThrough{Response: resp}, err
}

func (r *resolver) StepUp(ctx context.Context, m rule.Match, token secret.Secret, send stepup.Send) stepup.Decision {
	r.note("step-up %s %s once=%v token=%s", m.Request.Operation, m.Request.Path, m.NoReplay, token.Reveal())
	r.mu.Lock()
	r.context = ctx
	r.mu.Unlock()
	if r.stepUp == nil {
		return stepup.PassThrough{}
	}
	return decision(r.stepUp(m, send))
}

func (r *resolver) Login(_ context.Context, c mfa.Challenge, q rule.Request) stepup.Decision {
	r.note("login %s", place(q))
	return decision(r.login(c))
}

// decision is what a resolver makes of an answer and a verdict.
func decision(resp *http.Response, v mfa.Verdict) stepup.Decision {
	switch {
	case v.Outcome == "":
		return stepup.PassThrough{Response: resp}
	case v.OK():
		return stepup.Answered{Response: resp, Outcome: v.Outcome}
	}
	return stepup.Refused{Response: resp, Verdict: v}
}

// parts is a resolver of which each test plays some.
type parts struct {
	relay.StepUps
	relay.TokenUses
	relay.SinglePhase
	relay.BodyFactors
	relay.Approvals
	relay.Revocations
}

// play puts what a test plays in the place of the fixture's own.
func play(c *relay.Config, all ...any) {
	p := c.Resolver.(parts)
	for _, part := range all {
		switch part := part.(type) {
		case relay.SinglePhase:
			p.SinglePhase = part
		case relay.BodyFactors:
			p.BodyFactors = part
		case relay.Approvals:
			p.Approvals = part
		case relay.Revocations:
			p.Revocations = part
		}
	}
	c.Resolver = p
}

// place is where a request is, in words.
func place(q rule.Request) string {
	if q.Namespace == "" {
		return q.Path
	}
	return q.Path + " in " + q.Namespace
}

// raw sends bytes as they are and returns the answer as it is.
func raw(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// rawUpstream accepts one connection at a time, hands the bytes of its request to got,
// and answers with the given bytes.
func rawUpstream(t *testing.T, answer string) (address string, got <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan string, 16)
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serveRaw(conn, answer, requests)
		}
	}()
	return "http://" + ln.Addr().String(), requests
}

func serveRaw(conn net.Conn, answer string, requests chan<- string) {
	defer conn.Close()
	var bytes strings.Builder
	r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &bytes)))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	requests <- bytes.String()
	_, _ = io.WriteString(conn, answer)
}

// each runs every case of a table, beside the others.
func each[T any](t *testing.T, tests map[string]T, run func(*testing.T, T)) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, tt)
		})
	}
}
