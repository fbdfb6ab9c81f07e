package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// client is not the default one, whose idle connections every server of httptest
// closes at its end, under the requests of other tests.
var client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}

// A fixture is a running agent in front of a development Vault, with a person who
// answers by a function.
type fixture struct {
	vault   *devvault.Server
	token   string // alice's, whose reads of kv/data/prod/* need the method corp
	url     string // of the agent's TCP listener
	socket  string
	dir     string
	agent   *agent.Agent
	config  agent.Config
	log     *lockedBuffer
	person  func(context.Context, prompt.Request) (string, error)
	push    *devvault.Push
	asked   *prompttest.Script
	keyring keyring.Keyring
	stop    func() // ends the agent; the end of the test does so, too
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureAt(t, devvault.Enterprise, nil)
}

// newFixtureAt has another Vault, and a keyring unless it is nil.
func newFixtureAt(t testing.TB, server devvault.Flavor, k keyring.Keyring) *fixture {
	t.Helper()
	r := newStoppedFixture(t, devvault.Config{Flavor: server, Record: true})
	r.furnish(t)
	r.keyring = k
	r.start(t)
	return r
}

// newStoppedFixture has a Vault with nothing in it, and an agent that has not begun.
func newStoppedFixture(t testing.TB, server devvault.Config) *fixture {
	t.Helper()
	r := &fixture{vault: devvault.New(server), dir: t.TempDir(), log: &lockedBuffer{}}
	address, err := r.vault.Start()
	must(t, err)
	t.Cleanup(r.vault.Close)
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrUnavailable }
	r.asked = prompttest.Func(func(ctx context.Context, q prompt.Request) (string, error) { return r.person(ctx, q) })
	r.config = r.configFor(t, address)
	return r
}

func (r *fixture) furnish(t testing.TB) {
	t.Helper()
	v := r.vault
	v.AddTOTPMethod("corp")
	r.push = v.AddPushMethod("phone", "okta")
	v.AddPolicy("prod",
		devvault.PathRule{Path: "kv/data/prod/*", Capabilities: []string{"create", "read", "update"}, MFAMethods: []string{"corp"}},
		devvault.PathRule{Path: "kv/data/call/*", Capabilities: []string{"read"}, MFAMethods: []string{"phone"}},
		devvault.PathRule{Path: "kv/data/dev/*", Capabilities: []string{"read"}})
	v.AddKV("kv")
	alice := v.AddUser("userpass", "alice", "pw", "prod")
	enrol(t, v, "corp", alice)
	for _, path := range []string{"kv/data/prod/db", "kv/data/dev/db", "kv/data/call/db"} {
		must(t, v.PutSecret(path, map[string]any{"path": path}))
	}
	v.AddUser("stepup", "alice", "pw", "prod")
	must(t, v.AddLoginEnforcement("ups", []string{"corp"}, []string{"stepup"}))
	r.token = v.CreateToken([]string{"default", "prod"}, alice)
}

// noLane is set for a run of all tests without the express lane.
const noLane = "STEPUP_TEST_NO_LANE"

// TestWithoutLane runs all tests once more, with net/http alone.
func TestWithoutLane(t *testing.T) {
	if os.Getenv(noLane) != "" || testing.Short() {
		t.Skip("is the run without it")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=9m")
	cmd.Env = append(os.Environ(), noLane+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("without an express lane: %v\n%s", err, out)
	}
}

func (r *fixture) configFor(t testing.TB, address string) agent.Config {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	r.socket = filepath.Join(r.dir, "vault.sock")
	return agent.Config{
		File:   "test.hcl",
		Vaults: []agent.Vault{{Name: "corp", Address: u, MaxBody: 1 << 20}},
		Listeners: []agent.Listener{
			{Network: "tcp", Address: "127.0.0.1:0", Vault: "corp"},
			{Network: "unix", Address: r.socket, Vault: "corp"},
		},
		Methods:  []agent.Method{{Name: "corp", Type: "totp", Digits: 6}, {Name: "phone", Type: "okta"}},
		Rules:    rule.Rules{headerRule("prod", "kv/data/prod/*", "corp"), headerRule("call", "kv/data/call/*", "phone")},
		LoginMFA: agent.LoginMFA{Enabled: true},
		Relay:    agent.Relay{MaxKeptBodies: 64 << 20, Express: os.Getenv(noLane) == ""},
		Audit:    audit.Config{File: filepath.Join(r.dir, "audit.jsonl")},
		Prompt:   agent.Prompt{Prompters: []prompt.Named{{Name: "script", Prompter: r.asked}}},
	}
}

// headerRule is a rule with a header grant.
func headerRule(name, path, method string) rule.Rule {
	return rule.Rule{Name: name, Paths: patterns(path), Methods: []string{method}, Grant: rule.Grant{Kind: rule.HeaderGrant}}
}

func patterns(texts ...string) (all []rule.Pattern) {
	for _, text := range texts {
		p, err := rule.ParsePattern(text)
		if err != nil {
			panic(err) // it is the test's own
		}
		all = append(all, p)
	}
	return all
}

// start runs the agent until the test ends and checks that it ends cleanly.
func (r *fixture) start(t testing.TB) {
	t.Helper()
	r.agent, r.stop = start(t, r.config, agent.Options{
		RuntimeDir: filepath.Join(r.dir, "run"), Version: "test", Keyring: r.keyring, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	r.url = "http://" + r.agent.Status(t.Context()).Listeners[0].Address
}

// start runs an agent until the test ends, or stop is called, and checks that it ends
// cleanly.
func start(t testing.TB, c agent.Config, o agent.Options) (a *agent.Agent, stop func()) {
	t.Helper()
	a, end, started := run(c, o)
	if !started {
		t.Fatal(end())
	}
	stop = sync.OnceFunc(func() {
		if err := end(); err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	t.Cleanup(stop)
	return a, stop
}

// run runs an agent. end stops it and returns what Run did. started is false when Run
// has ended by itself.
func run(c agent.Config, o agent.Options) (a *agent.Agent, end func() error, started bool) {
	ready, done := make(chan struct{}), make(chan error, 1)
	o.Ready = func() { close(ready) }
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a = agent.New(c, o)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- a.Run(ctx) }()
	select {
	case <-ready:
		return a, func() error { cancel(); return <-done }, true
	case err := <-done:
		cancel()
		return a, func() error { return err }, false
	}
}

// reload gives the agent another configuration.
func (r *fixture) reload(t testing.TB, c agent.Config) {
	t.Helper()
	must(t, r.agent.Reload(t.Context(), c))
}

// change changes the configuration. Its lists are new ones: the agent has the old.
func (r *fixture) change(t testing.TB, change func(c *agent.Config)) {
	t.Helper()
	c := &r.config
	c.Methods = slices.Clone(c.Methods)
	c.Vaults, c.Listeners, c.Rules = slices.Clone(c.Vaults), slices.Clone(c.Listeners), slices.Clone(c.Rules)
	change(c)
	r.reload(t, r.config)
}

// as is the fixture with another token, or at another address.
func (r *fixture) as(token string) *fixture {
	other := *r
	other.token = token
	return &other
}

func (r *fixture) at(url string) *fixture {
	other := *r
	other.url = url
	return &other
}

// direct is the fixture without the agent: its requests go to Vault.
func (r *fixture) direct() *fixture { return r.at("http://" + r.config.Vaults[0].Address.Host) }

func (r *fixture) control() *control.Client {
	return control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket))
}

// must ends a test that cannot go on.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// enrol makes a secret of a person, in a namespace or in root.
func enrol(t testing.TB, in interface {
	EnrolTOTP(method, entity string) (url, secret string, err error)
}, method, entity string) {
	t.Helper()
	_, _, err := in.EnrolTOTP(method, entity)
	must(t, err)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// code answers with the person's code of this moment.
func (r *fixture) code(context.Context, prompt.Request) (string, error) {
	return r.vault.UnusedCode("corp", "alice"), nil
}

// deny is a person who says no.
func deny(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }

// types is a person who types answers, one after the other, or "no".
func types(answers ...string) func(context.Context, prompt.Request) (string, error) {
	var mu sync.Mutex
	return func(context.Context, prompt.Request) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(answers) == 0 {
			return "", prompt.ErrUnavailable
		}
		next := answers[0]
		answers = answers[1:]
		if next == "no" {
			return "", prompt.ErrDenied
		}
		return next, nil
	}
}

// sees is a person who answers nothing, and passes on what they see where there is room.
func sees(seen chan<- prompt.Request) func(context.Context, prompt.Request) (string, error) {
	return func(ctx context.Context, q prompt.Request) (string, error) {
		select {
		case seen <- q:
		default:
		}
		<-ctx.Done()
		return "", ctx.Err()
	}
}

// seen makes the person one who answers nothing, and returns what they see.
func (r *fixture) seen() <-chan prompt.Request {
	seen := make(chan prompt.Request, 16)
	r.person = sees(seen)
	return seen
}

// wait ends a test whose prompt never comes instead of hanging.
func wait[T any](t *testing.T, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(time.Minute):
		t.Fatal("nobody was asked")
	}
	return got
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// wantPushes checks how often a phone has rung.
func wantPushes(t testing.TB, p *devvault.Push, n int) {
	t.Helper()
	if got := p.Sent(); got != n {
		t.Errorf("%d pushes, want %d", got, n)
	}
}

// wantAsked checks how often the person was asked or told.
func (r *fixture) wantAsked(t testing.TB, n int) {
	t.Helper()
	if got := len(r.asked.Requests()); got != n {
		t.Errorf("%d prompts, want %d", got, n)
	}
}

type reply struct {
	status  int
	body    string
	outcome string
}

// check compares an answer with the one that is wanted, whose body is a part of it.
func check(t testing.TB, got, want reply) {
	t.Helper()
	if strings.Contains(got.body, want.body) {
		got.body = want.body
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// checkPassed wants a denial of Vault's, as it is.
func checkPassed(t testing.TB, got reply) {
	t.Helper()
	if got.status != 403 || got.outcome != "" || strings.Contains(got.body, "stepup") {
		t.Errorf("%d %q %.200s", got.status, got.outcome, got.body)
	}
}

// later does something beside the test.
func later(do func() reply) <-chan reply {
	done := make(chan reply, 1)
	go func() { done <- do() }()
	return done
}

// member is a text in the JSON of an answer. The test ends where there is none.
func member(t testing.TB, r reply, name string) string {
	t.Helper()
	_, rest, _ := strings.Cut(r.body, `"`+name+`":"`)
	text, _, ok := strings.Cut(rest, `"`)
	if !ok || text == "" {
		t.Fatalf("no %s in %+v", name, r)
	}
	return text
}

// sent counts the requests of the agent to a path.
func (r *fixture) sent(path string) (n int) {
	for _, q := range r.vault.Requests() {
		if strings.HasSuffix(q.RawPath, path) {
			n++
		}
	}
	return n
}

func (r *fixture) wantSent(t testing.TB, path string, n int) {
	t.Helper()
	if got := r.sent(path); got != n {
		t.Errorf("%s was sent %d times, want %d", path, got, n)
	}
}

// wantOutcomes reads a path again and again.
func (r *fixture) wantOutcomes(t testing.TB, path string, outcomes ...string) {
	t.Helper()
	for _, want := range outcomes {
		status := http.StatusOK
		if want == "denied" {
			status = http.StatusForbidden
		}
		check(t, r.read(t, path), reply{status, "", want})
	}
}

const pw = `{"password":"pw"}`

// read reads a path with the fixture's token.
func (r *fixture) read(t testing.TB, path string, header ...string) reply {
	t.Helper()
	return r.do(t, http.MethodGet, "/v1/"+path, "", append([]string{"X-Vault-Token", r.token}, header...)...)
}

func (r *fixture) do(t testing.TB, method, path, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	// The next request begins on a connection of its own, where the express lane may take it.
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{resp.StatusCode, string(data), resp.Header.Get("Stepup-Outcome")}
}

// serveAt serves h until the test ends or the server is closed. Its Addr is where
// it listens.
func serveAt(t *testing.T, h http.Handler, address string) *http.Server {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	// A child that another test has just forked holds the old listener until it has executed.
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < 3000; tries++ {
		time.Sleep(10 * time.Millisecond)
		ln, err = net.Listen("tcp", address)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Skipf("needs an address that the loopback interface lacks: %v", err) // macOS has 127.0.0.1 alone
	}
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Addr: ln.Addr().String(), Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return server
}
