package relay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache"
)

// keeps has bodies of up to 1 MiB kept, as far as the budget goes.
func keeps(budget int64) func(*relay.Config) {
	return func(c *relay.Config) {
		prodRule(c)
		c.MaxKept = 1 << 20
		c.Budget.SetLimit(budget)
	}
}

// A crowd is many requests with bodies that all wait for a person.
type crowd struct {
	fixture *fixture
	answers sync.WaitGroup
	waiting chan bool     // for each that waits: it was asked about before it was sent
	release chan struct{} // lets all of them end
}

// newCrowd sends n requests with the same body on a rule's path; all of them get a
// no in the end.
func newCrowd(t *testing.T, n int, body string, budget int64) *crowd {
	t.Helper()
	vault := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(403, denied)(w, r)
	})
	c := &crowd{fixture: newFixture(t, vault, keeps(budget)), waiting: make(chan bool, n), release: make(chan struct{})}
	c.fixture.resolver.stepUp = func(m rule.Match, _ stepup.Send) (*http.Response, mfa.Verdict) {
		c.waiting <- m.NoReplay
		<-c.release
		return nil, mfa.Verdict{Outcome: mfa.Denied, Message: "stepup: no"}
	}
	for range n {
		r := c.fixture.request(t, "POST /v1/kv/data/prod/x", strings.NewReader(body), "X-Vault-Token", "t")
		c.answers.Go(func() {
			resp, err := client.Do(r)
			if err != nil {
				return // the server need not read what was never allowed to be sent
			}
			defer resp.Body.Close()
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "stepup: no") {
				t.Errorf("answer %d %s", resp.StatusCode, text)
			}
		})
	}
	return c
}

// heap is what is in use after everything that can be given back was, and what was
// ever allocated.
func heap() (held, ever int64) {
	runtime.GC()
	runtime.GC() // of what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.TotalAlloc)
}

// Two hundred bodies of 1 MB that wait for a person take what the budget allows:
// those beyond it are asked about before they are read. With room for all they
// take their own size, and not twice that.
func TestBodiesShareABudget(t *testing.T) {
	// Not parallel: it looks at the whole heap.
	const crowdSize, size, slack = 200, 1_000_000, 32 << 20
	for _, budget := range []int64{64 << 20, 1 << 30} {
		t.Run(fmt.Sprintf("%dMiB", budget>>20), func(t *testing.T) {
			body := strings.Repeat("\x00", size)
			before, everBefore := heap()
			c := newCrowd(t, crowdSize, body, budget)
			asked := 0
			for range crowdSize {
				if <-c.waiting {
					asked++
				}
			}
			used := c.fixture.budget.Used()
			held, ever := heap()
			held, ever = held-before, ever-everBefore
			t.Logf("%d asked about first, %d MB counted, %d MB on the heap, %d MB ever", asked, used/1_000_000, held/1_000_000, ever/1_000_000)
			all := int64(crowdSize * size)
			if used > budget || used > all*11/10 {
				t.Errorf("%d bytes are kept of %d, budget %d", used, all, budget)
			}
			if most := min(budget, all) + slack; held > most {
				t.Errorf("%d bytes on the heap, want %d at most", held, most)
			}
			// Copies do not stay on the heap, but make it grow before they are collected.
			if most := min(budget, all)*5/4 + slack; ever > most {
				t.Errorf("%d bytes were allocated, want %d at most", ever, most)
			}
			if fits := budget > all; fits != (asked == 0) {
				t.Errorf("%d were asked about first", asked)
			}
			close(c.release)
			c.answers.Wait()
			c.fixture.givesBack(t)
		})
	}
}

// A body that the budget has no room for is asked about first, and sent once, with
// every byte.
func TestBodyBeyondTheBudget(t *testing.T) {
	t.Parallel()
	each(t, map[string]int64{"nothing fits": 0, "half fits": 10_000}, func(t *testing.T, length int64) {
		var arrived calls
		f := newFixture(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			arrived.note("%s", body)
		}), keeps(length))
		var askedFirst []bool
		f.resolver.stepUp = func(m rule.Match, send stepup.Send) (*http.Response, mfa.Verdict) {
			askedFirst = append(askedFirst, m.NoReplay)
			resp, err := send(context.Background(), nil, cache.Token{})
			if err != nil {
				t.Error(err)
			}
			return resp, mfa.Verdict{Outcome: mfa.Approved}
		}
		body := strings.Repeat("0123456789", 2000)
		// Of unknown length, so that it is read as far as the budget goes.
		r := f.request(t, "POST /v1/kv/data/prod/x", io.MultiReader(strings.NewReader(body)), "X-Vault-Token", "t")
		if resp, _ := fetch(t, r); resp.StatusCode != http.StatusOK {
			t.Errorf("answer %d", resp.StatusCode)
		}
		equal(t, "asked first", []bool{true}, askedFirst)
		equal(t, "vault got", []string{body}, arrived.noted())
	})
}

// An app that leaves while a person is asked takes its body with it.
func TestLeaversGiveTheirBodiesBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t, upstream(t, guardedVault("no request has this")), prodRule)
	ctx, leave := context.WithCancel(t.Context())
	kept := make(chan int64, 1)
	f.resolver.stepUp = func(rule.Match, stepup.Send) (*http.Response, mfa.Verdict) {
		kept <- f.budget.Used()
		leave()
		<-f.resolver.context.Done()
		return nil, mfa.Verdict{Outcome: mfa.Unavailable, Message: "stepup: left"}
	}
	r := f.request(t, "POST /v1/kv/data/prod/x", strings.NewReader(strings.Repeat("b", 900)), "X-Vault-Token", "t")
	if resp, err := client.Do(r.WithContext(ctx)); err == nil {
		_ = resp.Body.Close()
	}
	select {
	case n := <-kept:
		if n < 900 || n > 1000 {
			t.Errorf("%d bytes were kept", n)
		}
	case <-time.After(time.Minute):
		t.Fatal("no question was asked")
	}
	f.givesBack(t)
}
