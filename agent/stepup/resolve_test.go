package stepup_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

func TestHeaderGrant(t *testing.T) {
	t.Parallel()
	type test struct {
		match   rule.Match
		right   string
		codes   []string
		outcome mfa.Outcome
		text    string
		sent    []string
		asked   []string
		events  []audit.Event
		change  func(*fixture)
	}
	tests := map[string]test{
		"right at once": {
			match: prod("totp"), right: "totp:111111", codes: []string{"111111"}, outcome: mfa.Approved,
			sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "},
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved},
		},
		"wrong, then right": {
			match: prod("totp"), right: "totp:222222", codes: []string{"111111", "222222"}, outcome: mfa.Approved,
			sent:  []string{"totp:111111", "totp:222222"},
			asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"always wrong": {
			match: prod("totp"), right: "-", codes: []string{"111111", "222222", "333333"}, outcome: mfa.Rejected, text: "did not accept the codes",
			sent:   []string{"totp:111111", "totp:222222", "totp:333333"},
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Prompt, audit.Prompt, audit.Rejected},
		},
		"the same code is not sent twice": {
			match: prod("totp"), right: "totp:222222", codes: []string{"111111", "111111", "222222"}, outcome: mfa.Approved,
			sent: []string{"totp:111111", "totp:222222"},
			asked: []string{
				"passcode totp 1/3 ", "passcode totp 2/3 wrong code, or one that was used: wait for the next one",
				"passcode totp 3/3 that code was sent already: wait for the next one",
			},
		},
		"wrong length is not sent": {
			match: prod("totp"), right: "totp:222222", codes: []string{"1234", "222222"}, outcome: mfa.Approved,
			sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 a code of this method has 6 digits"},
		},
		"all methods of the rule": {
			match: prod("totp", "second"), right: "totp:111111,second:abc", codes: []string{"111111", "abc"}, outcome: mfa.Approved,
			sent: []string{"totp:111111,second:abc"}, asked: []string{"passcode totp 1/3 ", "passcode second 1/3 "},
		},
		"code and push: both went first": {match: prod("totp", "okta")},
		"denied": {
			match: prod("totp"), codes: []string{"no"}, outcome: mfa.Denied, text: "was denied",
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Denied},
		},
		"nobody answers": {
			match: prod("totp"), codes: []string{"never"}, outcome: mfa.Timeout, text: "nobody answered",
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Timeout},
		},
		"not granted anyway": {match: prod("totp"), change: func(s *fixture) { s.vault.capabilities = []string{"list"} }},
		"root":               {match: prod("totp"), change: func(s *fixture) { s.vault.capabilities = []string{"root"} }},
		"probe refused": {
			match: prod("totp"), outcome: mfa.Unavailable, text: "capabilities-self: no",
			change: func(s *fixture) { s.vault.probeErr = errors.New("no") },
		},
		"only a push: it was sent already": {match: prod("okta")},
		"sent only once": {
			match: rule.Match{Rule: prod("totp").Rule, Request: prod().Request, NoReplay: true}, right: "-", codes: []string{"111111"}, outcome: mfa.Rejected,
			sent: []string{"totp:111111"}, asked: []string{"passcode totp 1/3 "},
		},
		"sent only once, but a slip of the finger is not sent": {
			match: rule.Match{Rule: prod("totp").Rule, Request: prod().Request, NoReplay: true}, right: "totp:222222",
			codes: []string{"1234", "222222"}, outcome: mfa.Approved,
			sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 a code of this method has 6 digits"},
		},
		"no way to ask": {
			match: prod("totp"), outcome: mfa.Unavailable, text: "stepup attach",
			change: func(s *fixture) { s.broker.Reconfigure(prompt.BrokerConfig{}) },
		},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, nil)
		s.person.codes(tt.codes...)
		if tt.change != nil {
			tt.change(s)
		}
		up := &sending{right: tt.right}
		resp, v := s.resolver.StepUp(t.Context(), tt.match, "tok", up.send)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) || (v.Message != "") != (tt.text != "" || !v.OK()) {
			t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if (resp != nil) != (len(tt.sent) > 0) {
			t.Errorf("answer %v after %d sendings", resp, len(tt.sent))
		}
		if d := cmp.Diff(tt.sent, up.lines); d != "" {
			t.Errorf("sent: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
		if d := cmp.Diff(tt.events, s.audit.events); tt.events != nil && d != "" {
			t.Errorf("audit: %s", d)
		}
	})
}

func TestProbeAsksForWhatTheAppAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("no")
		m := prod("totp")
		m.Request.Namespace, m.Request.Path = "ns1", "sub/kv/data/prod/db"
		s.resolver.StepUp(t.Context(), m, "tok", (&sending{}).send)
		if d := cmp.Diff([]string{"tok ns1/sub/kv/data/prod/db"}, s.vault.probed); d != "" {
			t.Error(d)
		}
	})
}

// After a no there is no prompt for a while: for the same caller and rule, and
// for nobody else.
func TestCooldown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		up := &sending{right: "totp:111111"}
		step := func(m rule.Match, token secret.Secret, codes ...string) mfa.Verdict {
			s.person.codes(codes...)
			_, v := s.resolver.StepUp(t.Context(), m, token, up.send)
			return v
		}
		if v := step(prod("totp"), "tok", "no"); v.Outcome != mfa.Denied {
			t.Fatalf("first: %+v", v)
		}
		time.Sleep(10 * time.Second)
		if v := step(prod("totp"), "tok"); v.Outcome != mfa.Cooldown || !strings.Contains(v.Message, "try again in 20 seconds") {
			t.Errorf("same caller: %+v", v)
		}
		if v := step(prod("totp"), "other", "no"); v.Outcome != mfa.Denied {
			t.Errorf("other caller: %+v", v)
		}
		other := prod("totp")
		other.Rule = &rule.Rule{Name: "else", Methods: []string{"totp"}, Grant: rule.Grant{Kind: rule.HeaderGrant}}
		if v := step(other, "tok", "no"); v.Outcome != mfa.Denied {
			t.Errorf("other rule: %+v", v)
		}
		time.Sleep(20 * time.Second)
		if v := step(prod("totp"), "tok", "111111"); v.Outcome != mfa.Approved {
			t.Errorf("after the cool-down: %+v", v)
		}
	})
}

// Requests of one caller under one rule wait for each other: each is asked for
// a code of its own, and one denial answers all that wait.
func TestOnePromptAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		open := make(chan struct{})
		s.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
			select {
			case <-open:
				return "", prompt.ErrDenied
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		var all sync.WaitGroup
		outcomes := make([]mfa.Outcome, 50)
		for i := range outcomes {
			all.Go(func() {
				_, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send)
				outcomes[i] = v.Outcome
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		close(open)
		all.Wait()
		for i, o := range outcomes {
			if o != mfa.Denied {
				t.Errorf("request %d: %s", i, o)
			}
		}
		if n := len(s.person.messages()); n != 1 {
			t.Errorf("%d prompts, want 1", n)
		}
	})
}

// Whoever waited for a no gets it, even if their turn comes when the cool-down
// is over: on a busy machine, a short one ends before all of them were answered.
func TestNoOutlivesTheCooldownForThoseWhoWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, func(c *stepup.Config) { c.Cooldown = time.Nanosecond })
		s.person.codes("no")
		asked := make(chan struct{})
		deny := s.person.answer
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			<-asked
			return deny(ctx, r)
		}
		s.audit.slow = func() { time.Sleep(time.Second) } // between the no and the next one's turn
		var all sync.WaitGroup
		outcomes := make([]mfa.Outcome, 3)
		for i := range outcomes {
			all.Go(func() {
				_, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send)
				outcomes[i] = v.Outcome
			})
		}
		time.Sleep(10 * time.Second)
		close(asked)
		all.Wait()
		for i, o := range outcomes {
			if o != mfa.Denied {
				t.Errorf("request %d: %s", i, o)
			}
		}
	})
}

func TestSecondWaiterIsToldToWaitForTheNextCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111", "222222")
		for _, right := range []string{"totp:111111", "totp:222222"} {
			if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{right: right}).send); v.Outcome != mfa.Approved {
				t.Fatalf("%+v", v)
			}
		}
		want := []string{"passcode totp 1/3 ", "passcode totp 1/3 the last code was used a moment ago: wait for the next one"}
		if d := cmp.Diff(want, s.person.messages()); d != "" {
			t.Error(d)
		}
	})
}

// A waiter that was never shown a prompt starts no cool-down.
func TestWaiterTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
			time.Sleep(50 * time.Second)
			return "111111", nil
		}
		up := &sending{right: "totp:111111", delay: 20 * time.Second}
		var first, second mfa.Verdict
		var all sync.WaitGroup
		all.Go(func() { _, first = s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send) })
		synctest.Wait()
		all.Go(func() { _, second = s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send) })
		all.Wait()
		if first.Outcome != mfa.Approved || second.Outcome != mfa.Timeout || !strings.Contains(second.Message, "another request") {
			t.Errorf("first %+v, second %+v", first, second)
		}
	})
}

// Nobody is asked for an app that left, and its departure is nobody's no.
func TestAppLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("never")
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { s.resolver.StepUp(ctx, prod("totp"), "tok", (&sending{}).send) })
		synctest.Wait()
		if n := s.broker.Len(); n != 1 {
			t.Errorf("%d prompts pending", n)
		}
		leave()
		all.Wait()
		if n := s.broker.Len(); n != 0 {
			t.Errorf("%d prompts pending after the app left", n)
		}
		s.person.codes("111111")
		if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{right: "totp:111111"}).send); v.Outcome != mfa.Approved {
			t.Errorf("next try: %+v", v)
		}
	})
}
