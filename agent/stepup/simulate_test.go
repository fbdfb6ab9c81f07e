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
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A simulation is one working day of one developer, with the resolver, its state and the
// store of tokens as they are. Vault takes every code once.
type simulation struct {
	*fixture
	match rule.Match
	ttl   time.Duration
	day   day

	mu    sync.Mutex // guards what follows
	codes int
	uses  map[string]*use // of each step-up token
}

// A use is what became of one step-up token.
type use struct{ last, end time.Time }

// A day is what is counted.
type day struct {
	requests, served, cached int // of programs
	prompts, tokens          int
	vault                    int           // requests that Vault gets
	unused                   time.Duration // that step-up tokens live after their last use
}

func (d *day) add(other day) {
	d.requests, d.served, d.cached = d.requests+other.requests, d.served+other.served, d.cached+other.cached
	d.prompts, d.tokens, d.vault = d.prompts+other.prompts, d.tokens+other.tokens, d.vault+other.vault
	d.unused += other.unused
}

// A work is a request, or with lock the end of all step-up tokens.
type work struct {
	at    time.Duration // since the morning
	token secret.Secret
	lock  bool
}

// plan is the day of a developer: single reads, runs of terraform (a crowd of requests within
// two minutes), a script that asks every half minute, and a laptop that sleeps at lunch, in the
// afternoon and where the agent is restarted.
func plan(random *rand.Rand) (all []work) {
	const hour = time.Hour
	moment := func() time.Duration { // 9 to 12, or 13 to 17:30
		at := time.Duration(random.Int64N(int64(7*hour + hour/2)))
		if at >= 3*hour {
			at += hour
		}
		return at
	}
	for range 8 + random.IntN(10) {
		all = append(all, work{at: moment(), token: "tok"})
	}
	for range 2 + random.IntN(6) {
		start := moment()
		for range 10 + random.IntN(30) {
			all = append(all, work{at: start + time.Duration(random.Int64N(int64(2*time.Minute))), token: "tok"})
		}
	}
	start := moment()
	for i := range 20 + random.IntN(60) {
		all = append(all, work{at: start + time.Duration(i)*30*time.Second, token: "script"})
	}
	all = append(all, work{at: 3 * hour, lock: true}, work{at: moment(), lock: true})
	if random.IntN(5) == 0 {
		all = append(all, work{at: moment(), lock: true})
	}
	slices.SortStableFunc(all, func(a, b work) int { return cmp.Compare(a.at, b.at) })
	return all
}

func simulate(t *testing.T, kind rule.GrantKind, ttl time.Duration, seed uint64) day {
	s := &simulation{
		fixture: newFixture(t, func(c *stepup.Config) { c.MaxTTL = ttl }),
		match:   rule.Match{Rule: &rule.Rule{Name: "prod", Methods: []string{"totp"}, Grant: rule.Grant{Kind: kind, Path: "auth/x", Password: "prompt"}}},
		ttl:     ttl, uses: map[string]*use{},
	}
	s.match.Request = rule.Request{Path: "kv/data/prod/db", Operation: rule.Read}
	held := strings.Replace(heldLogin, `"corp"`, `"totp"`, 1)
	s.person.answer = s.answer
	s.up.serve = s.serve
	s.vault.mintFor = func(vault.MintRequest) (*http.Response, error) { return s.newToken(), nil }
	s.vault.login = func(context.Context, string) (*http.Response, error) { return answer(200, held), nil }
	s.vault.validate = func(context.Context, string) (*http.Response, error) { return s.newToken(), nil }
	morning := time.Now()
	requests := make(chan result, 1<<12)
	for _, w := range plan(rand.New(rand.NewPCG(seed, 1))) {
		time.Sleep(time.Until(morning.Add(w.at)))
		if w.lock {
			s.lock()
			continue
		}
		s.day.requests++
		go func() { requests <- s.get(t.Context(), w.token) }()
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
func (s *simulation) get(ctx context.Context, token secret.Secret) result {
	r := s.of(s.resolver.First(ctx, s.match, token, s.up.send))
	if r.v.Outcome != "" || r.resp.StatusCode != http.StatusForbidden {
		return r
	}
	return s.stepUpOf(ctx, s.match, token)
}

// answer is a person who takes five seconds, and half a minute more for another code.
func (s *simulation) answer(ctx context.Context, r prompt.Request) (string, error) {
	takes := 5 * time.Second
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
	token, ok := strings.CutPrefix(line, "token ")
	switch u := s.uses[token]; {
	case !ok && line == "", ok && (u == nil || time.Now().After(u.end)):
		return answer(403, generic), nil
	case ok:
		u.last = time.Now()
	}
	return answer(200, "ok"), nil
}

func (s *simulation) newToken() *http.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprint("t", len(s.uses))
	s.uses[name] = &use{last: time.Now(), end: time.Now().Add(s.ttl)}
	return minted(name, int(s.ttl.Seconds()), 0)
}

// lock ends all step-up tokens, as stepup lock and a sleeping computer do.
func (s *simulation) lock() {
	s.state.Cancel()
	entries, _ := s.tokens.List(context.Background())
	for _, e := range entries {
		_ = s.tokens.Delete(context.Background(), e.Key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uses {
		u.end = earlier(u.end, time.Now())
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (s *simulation) sum() day {
	s.day.prompts, s.day.tokens = len(s.person.asked), len(s.uses)
	s.day.vault = len(s.up.sent) + len(s.vault.mints) + 2*len(s.vault.logins) + len(s.vault.probed) + s.vault.lookups + s.vault.callerAsked
	for _, u := range s.uses {
		s.day.unused += u.end.Sub(u.last)
	}
	return s.day
}

// team is the day of so many developers.
func team(t *testing.T, kind rule.GrantKind, ttl time.Duration, people int) (all day) {
	for seed := range people {
		synctest.Test(t, func(t *testing.T) { all.add(simulate(t, kind, ttl, uint64(seed))) })
	}
	return all
}

// With tokens, the simulation is the same each time (which of two requests comes first after a
// timeout is not, so a header grant differs by less than one percent). A longer life never costs more prompts, a grant that
// mints no token leaves none, and only what a lock interrupts is not served.
func TestSimulate(t *testing.T) {
	t.Parallel()
	people := 3
	ttls := []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	full := os.Getenv("STEPUP_SIMULATE") != ""
	if full {
		people = 200
	}
	row := func(name string, d day) {
		n := float64(people)
		fmt.Printf("| %s | %.0f | %.1f | %.1f | %.0f | %.0f %% | %.0f min | %.1f %% |\n", name, float64(d.requests)/n, float64(d.prompts)/n,
			float64(d.tokens)/n, float64(d.vault)/n, 100*float64(d.cached)/float64(d.requests), d.unused.Minutes()/n, 100*float64(d.requests-d.served)/float64(d.requests))
	}
	header := team(t, rule.HeaderGrant, time.Minute, people)
	if header.tokens != 0 || header.cached != 0 || header.prompts < header.served {
		t.Errorf("header: %+v", header)
	}
	if full {
		fmt.Println("| grant, TTL | requests | prompts | tokens | requests to Vault | from the cache | unused life of tokens | not served |\n|---|---|---|---|---|---|---|---|")
		row("`header`", header)
	}
	for _, kind := range []rule.GrantKind{rule.TokenGrant, rule.LoginGrant} {
		last := day{prompts: 1 << 30}
		for _, ttl := range ttls {
			d := team(t, kind, ttl, people)
			if d.prompts > last.prompts || d.requests != header.requests || d.tokens == 0 || d.requests-d.served > 3*people {
				t.Errorf("%s for %s: %+v after %+v", kind, ttl, d, last)
			}
			if !full && d != team(t, kind, ttl, people) {
				t.Errorf("%s for %s: the second time is another one", kind, ttl)
			}
			last = d
			if full {
				row(fmt.Sprintf("`%s`, %.0f min", kind, ttl.Minutes()), d)
			}
		}
	}
}
