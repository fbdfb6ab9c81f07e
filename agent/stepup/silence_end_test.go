package stepup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// about asks about a rule of that name for a caller, and is answered so.
func about(ctx context.Context, s *fixture, name string, caller secret.Secret, answers ...string) mfa.Verdict {
	m := prod("totp")
	m.Rule.Name = name
	s.person.codes(answers...)
	_, v := s.resolver.StepUp(ctx, m, caller, (&sending{right: "totp:111111"}).send)
	return v
}

// silenced denies three times under the rule prod.
func silenced(t *testing.T, s *fixture) {
	t.Helper()
	for _, caller := range []secret.Secret{"a", "b", "c"} {
		about(t.Context(), s, "prod", caller, "no")
	}
	if v := about(t.Context(), s, "prod", "d"); v.Outcome != mfa.Cooldown {
		t.Fatalf("%+v", v)
	}
}

// Questions that nobody answers count like denials: three of either in ten minutes.
func TestUnansweredQuestionsTire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		for caller, want := range map[secret.Secret]mfa.Outcome{"a": mfa.Timeout, "b": mfa.Timeout} {
			if v := about(t.Context(), s, "prod", caller, "never"); v.Outcome != want {
				t.Fatalf("%+v", v)
			}
		}
		if v := about(t.Context(), s, "prod", "c", "no"); v.Outcome != mfa.Denied {
			t.Fatalf("%+v", v)
		}
		if v := about(t.Context(), s, "prod", "d", "no"); v.Outcome != mfa.Cooldown {
			t.Errorf("after three: %+v", v)
		}
		if d := cmp.Diff([]string{"prod"}, s.state.Denials.All()); d != "" {
			t.Error(d)
		}
	})
}

// A question that was withdrawn because the app left counts for nothing, nor does one
// that waited behind others until its time was over.
func TestUnseenQuestionsDoNotTire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, func(c *stepup.Config) { c.Timeout = 30 * time.Second })
		for _, caller := range []secret.Secret{"a", "b", "c", "d"} {
			ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
			about(ctx, s, "prod", caller, "never")
			leave()
		}
		// One question of another rule is open longer than the others may be.
		blocking := make(chan struct{})
		s.person.codes("never")
		go func() {
			defer close(blocking)
			_, _ = s.broker.Ask(context.Background(), prompt.Request{Kind: prompt.Confirm})
		}()
		synctest.Wait()
		time.Sleep(time.Second)
		var waiting sync.WaitGroup
		for _, caller := range []secret.Secret{"e", "f", "g", "h"} {
			waiting.Go(func() {
				if _, v := s.resolver.StepUp(t.Context(), prod("totp"), caller, (&sending{}).send); v.Outcome != mfa.Timeout {
					t.Errorf("%+v", v)
				}
			})
		}
		<-blocking
		waiting.Wait()
		if d := cmp.Diff([]string(nil), s.state.Denials.All()); d != "" {
			t.Error(d)
		}
	})
}

// The silence ends when Vault accepts what a person answered, and by nothing less: any
// program can answer a prompt.
func TestOnlyAnAcceptedAnswerEndsTheSilence(t *testing.T) {
	t.Parallel()
	type test struct {
		answers []string
		printed secret.Secret // by a command of the method
		ends    bool
	}
	run(t, map[string]test{
		"right code":        {answers: []string{"111111"}, ends: true},
		"junk codes":        {answers: []string{"123456", "234567", "345678"}},
		"a denial":          {answers: []string{"no"}},
		"no answer":         {answers: []string{"never"}},
		"code of a program": {printed: "111111"},
	}, func(t *testing.T, tt test) {
		s := newFixture(t, func(c *stepup.Config) {
			if tt.printed != "" {
				c.Commands = map[string][]string{"totp": {"ykman"}}
			}
		})
		s.secrets.err = errors.New("no device")
		silenced(t, s)
		s.secrets.printed, s.secrets.err = tt.printed, nil
		about(t.Context(), s, "other", "x", tt.answers...)
		s.secrets.err = errors.New("no device")
		want := map[bool]mfa.Outcome{true: mfa.Denied, false: mfa.Cooldown}[tt.ends]
		if v := about(t.Context(), s, "prod", "y", "no"); v.Outcome != want {
			t.Errorf("%+v, want %s", v, want)
		}
	})
}

// An explicit command ends the silence once in ten minutes, so that a loop of it gets
// three prompts in that time and no more.
func TestResumeCountsOnceInTenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		if n, wait := s.state.Denials.Resume(); n != 0 || wait != 0 {
			t.Errorf("nothing was silent: %d, %s", n, wait)
		}
		start := time.Now()
		for i := 0; time.Since(start) < time.Hour; i++ {
			about(t.Context(), s, "prod", secret.Secret("caller"+string(rune('a'+i%26))), "no")
			s.state.Denials.Resume()
			time.Sleep(time.Second)
		}
		if n := len(s.person.messages()); n > 3*7 {
			t.Errorf("%d prompts in an hour", n)
		}
		if _, wait := s.state.Denials.Resume(); wait <= 0 || wait > 10*time.Minute {
			t.Errorf("wait %s", wait)
		}
	})
}
