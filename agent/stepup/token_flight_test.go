package stepup_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// A thousand requests of one caller make one prompt and one mint.
func TestOneFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(10 * time.Second)
			return "111111", nil
		}
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		var all sync.WaitGroup
		for i := range crowd {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if resp, v, err := first(t.Context(), s, deploy(), up); err != nil || v.Outcome != mfa.Approved || resp.StatusCode != 200 {
					t.Errorf("request %d: %+v %v", i, v, err)
				}
			})
		}
		all.Wait()
		if n, m := len(s.person.messages()), len(s.vault.mints); n != 1 || m != 1 {
			t.Errorf("%d prompts, %d mints", n, m)
		}
	})
}

func TestDenialAnswersAllWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(10 * time.Second)
			return "", prompt.ErrDenied
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, v, _ := first(t.Context(), s, deploy(), &sending{right: "-"}); v.Outcome != mfa.Denied {
					t.Errorf("%+v", v)
				}
			})
		}
		all.Wait()
		if n := len(s.person.messages()); n != 1 {
			t.Errorf("%d prompts", n)
		}
		if _, v, _ := first(t.Context(), s, deploy(), &sending{right: "-"}); v.Outcome != mfa.Cooldown {
			t.Errorf("the next: %+v", v)
		}
	})
}

// Two callers, and two rules, do not wait for each other's mint.
func TestFlightsAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		n := 0
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			n++
			return fmt.Sprintf("%06d", n), nil
		}
		s.vault.mint = func(_ context.Context, r vault.MintRequest) (*http.Response, error) {
			time.Sleep(time.Minute)
			return minted("for-"+r.Token.Reveal(), 300, 0), nil
		}
		started := time.Now()
		var all sync.WaitGroup
		other := deploy()
		renamed := *other.Rule
		renamed.Name, other.Rule = "other", &renamed
		for _, caller := range []secret.Secret{"a", "b", "c"} {
			for _, m := range []rule.Match{deploy(), other} {
				all.Go(func() {
					up := &sending{right: "token for-" + caller.Reveal()}
					if _, v := s.resolver.StepUp(t.Context(), m, caller, up.send); v.Outcome != mfa.Approved {
						t.Errorf("%s, %s: %+v", caller.Reveal(), m.Rule.Name, v)
					}
				})
			}
		}
		all.Wait()
		if took := time.Since(started); took > 61*time.Second || len(s.vault.mints) != 6 {
			t.Errorf("%d mints took %s", len(s.vault.mints), took)
		}
	})
}

// The flight outlives the app that started it: a late answer fills the cache.
func TestFlightSurvivesItsStarter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(30 * time.Second)
			return "111111", nil
		}
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, v, _ := first(ctx, s, deploy(), up); v.OK() {
			t.Errorf("app that left got %+v", v)
		}
		time.Sleep(time.Minute)
		if _, v, err := first(t.Context(), s, deploy(), up); v.Outcome != mfa.Cached || err != nil {
			t.Errorf("next try: %+v %v", v, err)
		}
	})
}

// stepup lock ends flights: what they would have found is not there.
func TestLockEndsFlights(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111")
		s.vault.mint = func(ctx context.Context, _ vault.MintRequest) (*http.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		done := make(chan mfa.Verdict)
		go func() {
			_, v := s.resolver.StepUp(t.Context(), deploy(), "tok", (&sending{}).send)
			done <- v
		}()
		synctest.Wait()
		s.state.Cancel()
		if v := <-done; v.Outcome != mfa.Denied || !strings.Contains(v.Message, "stepup lock") {
			t.Errorf("%+v", v)
		}
		s.person.codes("222222")
		s.vault.mint = mintsWith("totp:222222", "new")
		if _, v := s.resolver.StepUp(t.Context(), deploy(), "tok", (&sending{right: "token new"}).send); v.Outcome != mfa.Approved {
			t.Errorf("after the lock: %+v", v)
		}
	})
}

// A flight that starts while a lock waits for those before it is not its business.
func TestLockWaitsForEarlierFlightsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222")
		started, answer := make(chan struct{}), make(chan struct{})
		later := make(chan mfa.Verdict, 1)
		s.vault.mint = func(ctx context.Context, r vault.MintRequest) (*http.Response, error) {
			if r.Token == "late" {
				close(started)
				<-answer
				return minted("new", 300, 0), nil
			}
			<-ctx.Done()
			go func() {
				_, v := s.resolver.StepUp(t.Context(), deploy(), "late", (&sending{right: "token new"}).send)
				later <- v
			}()
			<-started
			return nil, ctx.Err()
		}
		early := make(chan mfa.Verdict, 1)
		go func() {
			_, v := s.resolver.StepUp(t.Context(), deploy(), "early", (&sending{}).send)
			early <- v
		}()
		synctest.Wait()
		locked := make(chan struct{})
		go func() {
			defer close(locked)
			s.state.Cancel()
		}()
		synctest.Wait()
		select {
		case <-locked:
		default:
			t.Error("the lock waits for a flight that began after it")
		}
		close(answer)
		if v := <-early; v.Outcome != mfa.Denied {
			t.Errorf("the flight before: %+v", v)
		}
		if v := <-later; v.Outcome != mfa.Approved {
			t.Errorf("the flight after: %+v", v)
		}
		<-locked
	})
}

// Vault may take its time to refuse a token that was revoked: the one that another
// request has got by then is used, not forgotten.
func TestLateDenialLeavesTheNewToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		key := cache.Key{Vault: "corp https://vault", Identity: "hmac-tok", Rule: "deploy"}
		old := cache.Token{Secret: "old", Created: time.Now(), Expires: time.Now().Add(time.Minute)}
		if err := s.tokens.Put(t.Context(), key, old); err != nil {
			t.Fatal(err)
		}
		s.vault.lookup = dead()
		s.person.codes("111111", "no")
		s.vault.mint = mintsWith("totp:111111", "new")
		var both sync.WaitGroup
		for _, up := range []*sending{{right: "token new", delay: 10 * time.Second}, {right: "token new", delay: time.Second}} {
			both.Go(func() {
				if resp, v, err := first(t.Context(), s, deploy(), up); err != nil || v.Outcome != mfa.Approved || resp.StatusCode != 200 {
					t.Errorf("after %s: %+v %v", up.delay, v, err)
				}
			})
		}
		both.Wait()
		if n, m := len(s.person.messages()), len(s.vault.mints); n != 1 || m != 1 {
			t.Errorf("%d prompts, %d mints", n, m)
		}
	})
}
