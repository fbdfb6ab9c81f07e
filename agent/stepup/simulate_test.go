package stepup_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A scenario is what a working day is simulated for.
type scenario struct {
	kind   rule.GrantKind
	ttl    time.Duration // of a step-up token
	memory bool          // tokens do not outlive the agent, as they do in a keyring
	dead   bool          // Vault knows none of the callers
}

// A simulation is one working day of one developer, with the resolver, its state and the
// store of tokens as they are. Vault takes every code once.
type simulation struct {
	*fixture
	scenario
	match   rule.Match
	store   cache.Store
	keyring *cachetest.Keyring

	mu     sync.Mutex // guards what follows
	random *rand.Rand // of the person
	codes  int
	uses   map[string]*use // of each step-up token
	day    day
}

// A use is what became of one step-up token.
type use struct{ last, end time.Time }

// A day is what is counted.
type day struct {
	requests, served, cached int // of programs
	prompts, tokens          int
	vault                    int           // requests that Vault gets, with those of the next two
	questions                int           // of them, capabilities and look-ups
	repeated                 int           // of them, requests of programs that were sent once more
	unused                   time.Duration // that step-up tokens live after their last use
}

func (d *day) add(other day) {
	d.requests, d.served, d.cached = d.requests+other.requests, d.served+other.served, d.cached+other.cached
	d.prompts, d.tokens, d.unused = d.prompts+other.prompts, d.tokens+other.tokens, d.unused+other.unused
	d.vault, d.questions, d.repeated = d.vault+other.vault, d.questions+other.questions, d.repeated+other.repeated
}

// A work is a request with a token, or what ends step-ups.
type work struct {
	at      time.Duration // since the morning
	token   secret.Secret
	lock    bool // the laptop sleeps
	restart bool // of the agent
}

// plan is the day of a developer with two to four windows, each with a token of its own: single
// reads, runs of terraform (a crowd of requests within two minutes), a script that asks about
// every half minute, and a laptop that sleeps at lunch and once more. On every second day the
// agent is restarted.
func plan(random *rand.Rand) (all []work) {
	const hour = time.Hour
	within := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	moment := func() time.Duration { // 9 to 12, or 13 to 17:30
		at := within(7*hour + hour/2)
		if at >= 3*hour {
			at += hour
		}
		return at
	}
	windows := 2 + random.IntN(3)
	window := func() secret.Secret { return secret.Secret(fmt.Sprint("window ", random.IntN(windows))) }
	for range 8 + random.IntN(10) {
		all = append(all, work{at: moment(), token: window()})
	}
	for range 2 + random.IntN(6) {
		start, token := moment(), window()
		for range 10 + random.IntN(30) {
			all = append(all, work{at: start + within(2*time.Minute), token: token})
		}
	}
	at := moment()
	for range 20 + random.IntN(60) {
		all = append(all, work{at: at, token: "script"})
		at += 30*time.Second + within(time.Second)
	}
	all = append(all, work{at: 3 * hour, lock: true}, work{at: moment(), lock: true})
	if random.IntN(2) == 0 {
		all = append(all, work{at: moment(), restart: true})
	}
	slices.SortStableFunc(all, func(a, b work) int { return cmp.Compare(a.at, b.at) })
	return all
}

func newSimulation(t *testing.T, c scenario, seed uint64) *simulation {
	s := &simulation{
		fixture: newFixture(t, nil), scenario: c, random: rand.New(rand.NewPCG(seed, 2)), uses: map[string]*use{},
		keyring: &cachetest.Keyring{},
		match: rule.Match{
			Rule: &rule.Rule{Name: "prod", Methods: []string{"totp"}, Grant: rule.Grant{
				Kind: c.kind, Path: "auth/x", Password: "prompt",
			}},
			Request: rule.Request{Path: "kv/data/prod/db", Operation: rule.Read},
		},
	}
	held := strings.Replace(heldLogin, `"corp"`, `"totp"`, 1)
	s.person.answer = s.answer
	s.up.serve = s.serve
	s.vault.mintFor = func(vault.MintRequest) (*http.Response, error) { return s.newToken(), nil }
	s.vault.login = always(http.StatusOK, held)
	s.vault.validate = func(context.Context, string) (*http.Response, error) { return s.newToken(), nil }
	s.start(t)
	return s
}

// start starts the agent: only what is in the keyring is there from before.
func (s *simulation) start(t *testing.T) {
	s.state = state.New()
	t.Cleanup(s.state.Close)
	layered := cache.NewLayered(&cache.Memory{}, cache.NewPersistent(cache.PersistentConfig{Keyring: s.keyring}))
	var tokens stepup.Tokens = layered
	s.store = layered
	if s.memory {
		memory := &cache.Memory{}
		s.store, tokens = memory, memory
	}
	s.change(func(c *stepup.Config) {
		c.MaxTTL, c.State, c.Tokens, c.Vault = s.ttl, s.state, tokens, simulatedVault{s.vault, s}
		c.End = func(caller stepup.Caller) { s.forget(caller.Identity) }
	})
}

// forget revokes the step-up tokens of a caller; "" are all.
func (s *simulation) forget(identity string) {
	entries, _ := s.store.List(context.Background())
	for _, e := range entries {
		if identity != "" && e.Key.Identity != identity {
			continue
		}
		_ = s.store.Delete(context.Background(), e.Key)
		s.mu.Lock()
		s.day.vault++
		s.uses[e.Token.Secret.Reveal()].end = time.Now()
		s.mu.Unlock()
	}
}

func simulate(t *testing.T, c scenario, seed uint64) day {
	s := newSimulation(t, c, seed)
	morning := time.Now()
	requests := make(chan result, 1<<12)
	for _, w := range plan(rand.New(rand.NewPCG(seed, 1))) {
		time.Sleep(time.Until(morning.Add(w.at)))
		switch {
		case w.lock: // as stepup lock does it
			s.broker.CancelAll()
			s.state.Cancel()
			s.forget("")
		case w.restart:
			s.broker.CancelAll()
			s.state.Close()
			s.start(t)
		default:
			s.day.requests++
			resolver := s.resolver
			go func() { requests <- s.get(t.Context(), resolver, w.token) }()
		}
	}
	time.Sleep(2 * time.Hour) // the evening
	for range s.day.requests {
		r := <-requests
		if r.resp != nil && r.resp.StatusCode == http.StatusOK {
			s.day.served++
		}
		if r.v.Outcome == mfa.Cached {
			s.day.cached++
		}
	}
	return s.sum()
}

// get is what the relay does with a request of a program.
func (s *simulation) get(ctx context.Context, resolver *stepup.Resolver, token secret.Secret) result {
	r := s.of(resolver.First(ctx, s.match, token, s.up.send))
	if r.v.Outcome != "" || r.resp.StatusCode != http.StatusForbidden {
		return r
	}
	return s.of(resolver.StepUp(ctx, s.match, token, s.up.send), nil)
}

// answer is a person who takes five to eight seconds, and half a minute more for another code.
func (s *simulation) answer(ctx context.Context, r prompt.Request) (string, error) {
	s.mu.Lock()
	takes := 5*time.Second + time.Duration(s.random.Int64N(int64(3*time.Second)))
	s.mu.Unlock()
	if strings.Contains(r.Message, "wait for the next one") {
		takes += 30 * time.Second
	}
	if err := wait(ctx, takes); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes++
	if r.Kind == prompt.Password {
		return fmt.Sprintf("pw\n%06d", s.codes), nil
	}
	return fmt.Sprintf("%06d", s.codes), nil
}

// serve is the guarded path: it takes a code, or a token that has not ended.
func (s *simulation) serve(_ context.Context, line string) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, stepped := strings.CutPrefix(line, "token ")
	switch {
	case line == "", stepped && s.endedLocked(name):
		return answer(http.StatusForbidden, generic), nil
	case stepped:
		s.uses[name].last = time.Now()
	}
	return answer(http.StatusOK, "ok"), nil
}

func (s *simulation) newToken() *http.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprint("t", len(s.uses))
	s.uses[name] = &use{last: time.Now(), end: time.Now().Add(s.ttl)}
	return minted(name, int(s.ttl.Seconds()), 0)
}

// endedLocked reports whether Vault does not know a step-up token any more.
func (s *simulation) endedLocked(name string) bool { return !time.Now().Before(s.uses[name].end) }

// A simulatedVault knows which tokens are alive.
type simulatedVault struct {
	*fakeVault
	s *simulation
}

func (v simulatedVault) ask(token secret.Secret) error {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.day.questions++
	_, stepped := v.s.uses[token.Reveal()]
	if stepped && v.s.endedLocked(token.Reveal()) || !stepped && v.s.dead {
		return dead()
	}
	return nil
}

func (v simulatedVault) LookupSelf(_ context.Context, token secret.Secret, _ string) (vault.TokenInfo, error) {
	return vault.TokenInfo{}, v.ask(token)
}

func (v simulatedVault) Capabilities(_ context.Context, token secret.Secret, _, _ string) ([]string, error) {
	return v.capabilities, v.ask(token)
}

func (s *simulation) sum() day {
	d, sent := s.day, len(s.up.sent)
	d.prompts, d.tokens, d.repeated = len(s.person.asked), len(s.uses), sent-d.requests
	d.vault += sent + d.questions + len(s.vault.mints) + len(s.vault.logins) + len(s.vault.validated)
	for _, u := range s.uses {
		d.unused += u.end.Sub(u.last)
	}
	return d
}

// team is the day of so many developers.
func team(t *testing.T, c scenario, people int) (all day) {
	for seed := range people {
		synctest.Test(t, func(t *testing.T) { all.add(simulate(t, c, uint64(seed))) })
	}
	return all
}

// row is a line of the table in docs/operators.md.
func row(name string, people int, d day) string {
	each := func(n int) float64 { return float64(n) / float64(people) }
	part := func(n int) float64 { return 100 * float64(n) / float64(d.requests) }
	return fmt.Sprintf("| %s | %.1f | %.1f | %.0f | %.0f | %.0f | %.0f %% | %.0f min | %.1f %% |",
		name, each(d.prompts), each(d.tokens), each(d.vault), each(d.questions), each(d.repeated),
		part(d.cached), d.unused.Minutes()/float64(people), part(d.requests-d.served))
}

// The same seed gives the same day. A longer life never costs more prompts, a keyring
// saves some, each token has its prompt, a header grant makes none, a caller that Vault does not
// know is never a reason to ask, and with a token fewer than one request in a hundred is not served:
// a lock or restart ended its prompt, or that was open too long. With STEPUP_SIMULATE=full, the
// table is printed, and compared with the one in docs/operators.md.
func TestSimulate(t *testing.T) {
	t.Parallel()
	people, full := 3, os.Getenv("STEPUP_SIMULATE") == "full"
	if full {
		people = 200
	}
	days := func(c scenario) day {
		d := team(t, c, people)
		if !full {
			equal(t, fmt.Sprintf("%+v, once more", c), d, team(t, c, people))
		}
		return d
	}
	header := days(scenario{kind: rule.HeaderGrant})
	if header.tokens != 0 || header.cached != 0 || header.prompts < header.served {
		t.Errorf("header: %+v", header)
	}
	rows := []string{
		"| grant, TTL | questions to you | tokens | requests to Vault | of these, lookups | of these, repeats " +
			"| from the cache | unused life | not served |",
		"|---|---|---|---|---|---|---|---|---|", row("`header`", people, header),
	}
	for _, kind := range []rule.GrantKind{rule.TokenGrant, rule.LoginGrant} {
		last := day{prompts: header.requests}
		for _, ttl := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour} {
			d := days(scenario{kind: kind, ttl: ttl})
			if d.prompts > last.prompts || d.tokens == 0 || d.tokens > d.prompts || d.cached == 0 {
				t.Errorf("%s for %s: %+v after %+v", kind, ttl, d, last)
			}
			if d.requests != header.requests || 100*(d.requests-d.served) > d.requests {
				t.Errorf("%s for %s: not served: %+v", kind, ttl, d)
			}
			last = d
			rows = append(rows, row(fmt.Sprintf("`%s`, %.0f min", kind, ttl.Minutes()), people, d))
		}
	}
	long := scenario{kind: rule.TokenGrant, ttl: time.Hour}
	kept := team(t, long, max(people, 10))
	long.memory = true
	if lost := team(t, long, max(people, 10)); kept.prompts >= lost.prompts {
		t.Errorf("with a keyring %+v, without %+v", kept, lost)
	}
	for _, kind := range []rule.GrantKind{rule.HeaderGrant, rule.TokenGrant, rule.LoginGrant} {
		if d := team(t, scenario{kind: kind, ttl: time.Hour, dead: true}, 3); d.prompts+d.tokens+d.served != 0 {
			t.Errorf("%s without a caller: %+v", kind, d)
		}
	}
	if full {
		compareWithDocs(t, strings.Join(rows, "\n"))
	}
}

func compareWithDocs(t *testing.T, table string) {
	fmt.Println(table)
	docs, err := os.ReadFile("../../docs/operators.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), table) {
		t.Error("docs/operators.md has another table")
	}
}
