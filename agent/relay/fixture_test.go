package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
)

// client is not the default one, whose idle connections every server of httptest
// closes at its end, under the requests of other tests.
var client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}

// A fixture is a relay between a test and an upstream that the test plays.
type fixture struct {
	url      string // of the relay
	resolver *resolver
	budget   *relay.Budget
	log      *syncBuffer
}

// givesBack waits until no body is kept. net/http may let go of one a moment after
// its request has ended.
func (f *fixture) givesBack(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); f.budget.Used() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of bodies are still kept", f.budget.Used())
		}
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

// newFixture starts a relay to the server at address; change may alter its Config.
func newFixture(t *testing.T, address string, change func(*relay.Config)) *fixture {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{resolver: &resolver{}, log: &syncBuffer{}}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DisableCompression = true
	t.Cleanup(base.CloseIdleConnections)
	f.budget = relay.NewBudget(1 << 30)
	t.Cleanup(func() { f.givesBack(t) }) // whatever way the test's requests went
	c := relay.Config{
		Vault: "corp", Address: u, Base: base, LoginMFA: true, Budget: f.budget, DenialObserver: make(denialObserver, 100),
		Resolver: parts{f.resolver, noSinglePhase{}, &mounts{}, &approver{}, &revocations{}},
		Log:      slog.New(slog.NewTextHandler(f.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	server := httptest.NewUnstartedServer(relay.New(c))
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// upstream starts a server that the relay talks to.
func upstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// resolver plays the part of package resolve.
type resolver struct {
	mu      sync.Mutex
	calls   []string
	stepUp  func(m rule.Match, send stepup.Send) (*http.Response, mfa.Verdict)
	login   func(c mfa.Challenge) (*http.Response, mfa.Verdict)
	first   func(send stepup.Send) (*http.Response, mfa.Verdict, error)
	matches []rule.Match // of each First
	context context.Context
}

func (r *resolver) note(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *resolver) noted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func (r *resolver) First(ctx context.Context, m rule.Match, _ secret.Secret, send stepup.Send) (stepup.Decision, error) {
	r.note("first " + m.Request.Path)
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
	r.note(fmt.Sprintf("step-up %s %s once=%v token=%s", m.Request.Operation, m.Request.Path, m.NoReplay, token.Reveal()))
	r.mu.Lock()
	r.context = ctx // of the last one
	r.mu.Unlock()
	if r.stepUp == nil {
		return stepup.PassThrough{}
	}
	return decision(r.stepUp(m, send))
}

func (r *resolver) Login(_ context.Context, c mfa.Challenge, q rule.Request) stepup.Decision {
	r.note("login " + place(q))
	return decision(r.login(c))
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
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// rawUpstream accepts one connection at a time, hands the request's bytes up to
// the end of its head (and as many body bytes as it announces) to got, and
// answers with the given bytes.
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
	r := bufio.NewReader(conn)
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	var body []byte
	if strings.Contains(head.String(), "Transfer-Encoding: chunked") {
		for !bytes.HasSuffix(body, []byte("0\r\n\r\n")) && !bytes.HasSuffix(body, []byte("X-Sum: 1\r\n\r\n")) {
			c, err := r.ReadByte()
			if err != nil {
				break
			}
			body = append(body, c)
		}
	}
	requests <- head.String() + string(body)
	_, _ = io.WriteString(conn, answer)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// parts is a resolver of which each test plays some.
type parts struct {
	relay.StepUps
	relay.SinglePhase
	relay.BodyFactors
	relay.Approvals
	relay.Revocations
}

// play puts what a test plays in the place of the fixture's own.
func play(c *relay.Config, part any) {
	p := c.Resolver.(parts)
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
	c.Resolver = p
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

type noSinglePhase struct{ relay.SinglePhase }

func (noSinglePhase) Covers(rule.Request) bool { return false }
