package state

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
)

// A code is remembered for three minutes, those included.
func TestCodesAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		codes := &New().Codes
		if !codes.MarkUsed(map[string]string{"totp": "111111"}) || codes.WasUsed("totp", "222222") || codes.WasUsed("other", "111111") {
			t.Error("another code, or one of another method, was used")
		}
		time.Sleep(codeMemory)
		if !codes.WasUsed("totp", "111111") || codes.MarkUsed(map[string]string{"totp": "111111"}) {
			t.Error("it is forgotten")
		}
		time.Sleep(time.Nanosecond)
		if codes.WasUsed("totp", "111111") {
			t.Error("it is remembered for too long")
		}
	})
}

// The device shows its next code half a minute after the last one was sent.
func TestNextCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		codes := &New().Codes
		start := time.Now()
		codes.MarkUsed(map[string]string{"totp": "111111"})
		time.Sleep(codePeriod - 1)
		if next := codes.NextAt("totp"); !next.Equal(start.Add(codePeriod)) || !codes.NextAt("other").IsZero() {
			t.Errorf("next code after %v", next.Sub(start))
		}
		time.Sleep(time.Nanosecond)
		if next := codes.NextAt("totp"); !next.IsZero() {
			t.Errorf("next code after %v", next.Sub(start))
		}
	})
}

// A refusal stays for the requests that waited for it, when its cool-down is over and others
// come, and for as long as a long cool-down lasts.
func TestCooldownsAreSwept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c Cooldowns
		short, long, other := Key{Path: "short"}, Key{Path: "long"}, Key{Path: "other"}
		denied, arrived := mfa.Verdict{Outcome: mfa.Denied}, time.Now()
		time.Sleep(time.Second)
		c.Start(short, denied, time.Second)
		c.Start(long, denied, time.Hour)
		time.Sleep(5 * time.Second)
		c.Start(other, denied, time.Second)
		if v, left, ok := c.Find(short, arrived); !ok || left != 0 || v != denied {
			t.Errorf("for a request that waited: %v, %v, %t", v, left, ok)
		}
		if _, _, ok := c.Find(short, time.Now()); ok {
			t.Error("a cool-down that is over holds")
		}
		time.Sleep(sharedFor)
		c.Start(other, denied, time.Second)
		if _, left, ok := c.Find(long, time.Now()); !ok || left != time.Hour-sharedFor-5*time.Second {
			t.Errorf("a long one: %v, %t", left, ok)
		}
		if _, _, ok := c.Find(short, arrived); ok {
			t.Error("a refusal is kept for ever")
		}
	})
}

// A lateContext ends at the moment in which it is asked whether it has, when all else is done.
type lateContext struct {
	context.Context
	end context.CancelFunc
}

func (c lateContext) Done() <-chan struct{} {
	synctest.Wait()
	c.end()
	return c.Context.Done()
}

// A request that leaves when its try is decided has the result all the same: the try counts as
// shared with it.
func TestLeavingADecidedTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New()
		defer s.Close()
		for range 50 { // which of two ends that are there is seen first is left to chance
			ctx, end := context.WithCancel(t.Context())
			resp, _, err := s.Tries.Share(lateContext{ctx, end}, TryKey{}, func(context.Context) (*http.Response, mfa.Verdict, error) {
				return &http.Response{Body: io.NopCloser(strings.NewReader("x"))}, mfa.Verdict{}, nil
			})
			if err != nil || resp == nil {
				t.Fatalf("Share = %v, %v", resp, err)
			}
			_ = resp.Body.Close()
			synctest.Wait()
		}
	})
}
