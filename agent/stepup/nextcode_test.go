package stepup_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// A device shows a code for half a minute, and Vault takes each of them once.
type device struct {
	mu   sync.Mutex
	used []string
}

func (*device) code() string { return fmt.Sprintf("%06d", time.Now().Unix()/30%1e6) }

func (d *device) serve(_ context.Context, factors string) (*http.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if factors == "totp:"+d.code() && !slices.Contains(d.used, factors) {
		d.used = append(d.used, factors)
		return answer(200, "secret"), nil
	}
	return answer(403, generic), nil
}

// honest types each code two seconds after the device shows it, once.
func (d *device) honest(f *fixture) {
	typed := ""
	f.up.serve = d.serve
	f.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
		for {
			if err := wait(ctx, 2*time.Second); err != nil {
				return "", err
			}
			if code := d.code(); code != typed {
				typed = code
				return code, nil
			}
		}
	}
}

// read is a read under the rule of prod.
func read(path string) rule.Match {
	m := prod("totp")
	m.Request.Path = "kv/data/prod/" + path
	return m
}

// Reads that each need a code of their own wait for the device, which is not the person's
// doing: as many succeed as there are codes in the time, and the others start no cool-down.
func TestParallelReadsOfAnHonestPerson(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		new(device).honest(f)
		var mu sync.Mutex
		outcomes := make(map[mfa.Outcome]int)
		together(4, func(i int) {
			r := f.stepUp(t.Context(), read(fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			outcomes[r.v.Outcome]++
			if !r.v.OK() {
				r.check(t, want{outcome: mfa.Timeout, text: "another request for the same rule was still being asked about; run it again, and fewer at once"})
			}
		})
		equal(t, "outcomes", map[mfa.Outcome]int{mfa.Approved: 3, mfa.Timeout: 1}, outcomes)
		f.stepUp(t.Context(), read("again")).check(t, want{outcome: mfa.Approved})
		for _, r := range f.person.asked {
			equal(t, "code before or after its question", false, strings.Contains(r.Message, "wrong"))
		}
	})
}

// The time of a question counts from the next code on, and the person reads how long the
// program has waited by then.
func TestQuestionForTheNextCodeHasItsWholeTime(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.right = "totp:111111"
		f.person.codes("111111", "never")
		f.stepUp(t.Context(), read("one")).check(t, want{outcome: mfa.Approved})
		start := time.Now()
		f.stepUp(t.Context(), read("two")).check(t, want{outcome: mfa.Timeout, text: "nobody answered the question in time"})
		equal(t, "time of the question", 30*time.Second+55*time.Second, time.Since(start))
		equal(t, "deadline that is shown", start.Add(85*time.Second).Round(0), f.person.asked[1].Deadline)
	})
}

func TestQuestionSaysHowLongTheProgramWaits(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("25s 111111", "no")
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Denied, asked: []string{
			"passcode totp 1/3 ", "passcode totp 2/3 " + wrongCode + "; the program has waited 25 s, and most give up after 60 s",
		}})
		f.person.codes("25s 222222", "no")
		f.vault.mint = func(context.Context, string) (*http.Response, error) { return answer(403, generic), nil }
		f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Denied}) // an acquisition outlives the program
		last := f.person.asked[len(f.person.asked)-1]
		equal(t, "message", wrongCode, last.Message)
	})
}

// Under a token grant one code serves all requests that wait for it. Under a header grant each
// needs its own, also one that reads the same: two readers of a dynamic secret are not to get
// the same one.
func TestWhoSharesACode(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		d := new(device)
		d.honest(f)
		together(2, func(int) { f.stepUp(t.Context(), same(read("db"), "x")).check(t, want{outcome: mfa.Approved}) })
		equal(t, "questions", 2, len(f.person.asked))
		time.Sleep(time.Minute)
		f.vault.mint = func(ctx context.Context, factors string) (*http.Response, error) {
			if resp, err := d.serve(ctx, factors); resp.StatusCode != 200 {
				return resp, err
			}
			return answer(200, approvedText), nil
		}
		together(4, func(int) { f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Approved}) })
		equal(t, "questions", 3, len(f.person.asked))
	})
}

// A program that leaves while the person is asked has a line in the audit log that says how
// long it waited; a lock, and a denial, have none.
func TestProgramLeavesAQuestion(t *testing.T) {
	run(t, map[string]struct {
		end  func(f *fixture, leave func())
		want int64
	}{
		"it left":  {func(_ *fixture, leave func()) { leave() }, 1000},
		"a lock":   {func(f *fixture, _ func()) { f.broker.CancelAll() }, 0},
		"a denial": {func(f *fixture, _ func()) { _ = f.broker.Deny(f.broker.Pending()[0].ID) }, 0},
	}, func(t *testing.T, tt struct {
		end  func(f *fixture, leave func())
		want int64
	}) {
		f := newFixture(t, nil)
		f.person.codes("never")
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		var all sync.WaitGroup
		all.Go(func() { f.stepUp(ctx, prod("totp")) })
		pass(time.Second)
		tt.end(f, leave)
		all.Wait()
		synctest.Wait()
		equal(t, "withdrawn", tt.want > 0, slices.Contains(f.audit.all(), audit.Withdrawn))
		if tt.want > 0 {
			equal(t, "waited", tt.want, f.audit.last.DurationMS)
		}
	})
}
