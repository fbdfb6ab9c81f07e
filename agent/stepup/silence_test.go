package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

func TestNobodyIsAskedForBatchJobs(t *testing.T) {
	t.Parallel()
	type test struct {
		silence factor.NeverPrompt
		rule    bool
		peer    peer.Peer
		outcome mfa.Outcome
		text    string
	}
	tests := map[string]test{
		"rule never prompts":      {rule: true, outcome: mfa.Unavailable, text: `prompt = "never"`},
		"detached program":        {silence: factor.NeverPrompt{Detached: true}, peer: peer.Peer{PID: 7, Detached: true}, outcome: mfa.Unavailable, text: "without a terminal"},
		"program with a terminal": {silence: factor.NeverPrompt{Detached: true}, peer: peer.Peer{PID: 7}, outcome: mfa.Denied},
		"detached, but wanted":    {peer: peer.Peer{Detached: true}, outcome: mfa.Denied},
		"program on the list":     {silence: factor.NeverPrompt{Match: func(p peer.Peer) bool { return p.Exe == "/usr/sbin/cron" }}, peer: peer.Peer{PID: 7, Exe: "/usr/sbin/cron"}, outcome: mfa.Unavailable, text: "never prompted"},
		"program not on the list": {silence: factor.NeverPrompt{Match: func(peer.Peer) bool { return false }}, peer: peer.Peer{PID: 7}, outcome: mfa.Denied},

		// It may be detached, and it may be on the list.
		"hidden program, detached ones are not asked for": {silence: factor.NeverPrompt{Detached: true}, peer: peer.Peer{Hidden: true}, outcome: mfa.Unavailable, text: "hides its process"},
		"hidden program, there is a list":                 {silence: factor.NeverPrompt{Match: func(peer.Peer) bool { return false }}, peer: peer.Peer{Hidden: true}, outcome: mfa.Unavailable, text: "unix socket"},
		"unknown program":                                 {silence: factor.NeverPrompt{Detached: true}, peer: peer.Peer{UID: -1}, outcome: mfa.Unavailable, text: "cannot be told"},
		"hidden program that the kernel names":            {silence: factor.NeverPrompt{Detached: true, Match: func(peer.Peer) bool { return false }}, peer: peer.Peer{PID: 7, Hidden: true}, outcome: mfa.Denied},
		"hidden program, but all are asked for":           {peer: peer.Peer{Hidden: true}, outcome: mfa.Denied},
	}
	run(t, tests, func(t *testing.T, tt test) {
		for _, m := range []rule.Match{prod("totp"), deploy()} {
			s := newFixture(t, func(c *stepup.Config) { c.NeverPrompt = tt.silence })
			s.person.codes("no")
			m.Rule.Silent = tt.rule
			ctx := peer.NewContext(t.Context(), func() peer.Peer { return tt.peer })
			_, v := s.resolver.StepUp(ctx, m, "tok", (&sending{}).send)
			if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
				t.Errorf("%s: %+v", m.Rule.Name, v)
			}
		}
	})
}

// identified is the context of a request whose process is known.
func identified(t *testing.T) context.Context {
	return peer.NewContext(t.Context(), func() peer.Peer { return peer.Peer{PID: 7} })
}

// A cached token serves a rule that never prompts, too.
func TestSilentRuleUsesTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("111111")
		s.vault.mint = mintsWith("totp:111111", "new")
		up := &sending{right: "token new"}
		if _, v, _ := first(t.Context(), s, deploy(), up); v.Outcome != mfa.Approved {
			t.Fatalf("%+v", v)
		}
		m := deploy()
		m.Rule.Silent = true
		if _, v, _ := first(t.Context(), s, m, up); v.Outcome != mfa.Cached {
			t.Errorf("%+v", v)
		}
	})
}

// After three denials in ten minutes a rule falls silent, for every caller, until a
// person resumes it; another rule does not.
func TestFatigue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		ask := func(caller secret.Secret, name string) mfa.Outcome {
			m := prod("totp")
			m.Rule.Name = name
			s.person.codes("no")
			_, v := s.resolver.StepUp(t.Context(), m, caller, (&sending{}).send)
			return v.Outcome
		}
		for _, caller := range []secret.Secret{"a", "b", "c"} {
			if o := ask(caller, "prod"); o != mfa.Denied {
				t.Fatalf("%s: %s", caller, o)
			}
			time.Sleep(time.Minute)
		}
		if o := ask("d", "prod"); o != mfa.Cooldown {
			t.Errorf("fourth caller: %s", o)
		}
		if o := ask("d", "other"); o != mfa.Denied {
			t.Errorf("another rule: %s", o)
		}
		time.Sleep(time.Hour)
		if o := ask("d", "prod"); o != mfa.Cooldown {
			t.Errorf("an hour later: %s", o)
		}
		if n, wait := s.state.Denials.Resume(); n != 1 || wait != 0 {
			t.Errorf("resumed %d, wait %s", n, wait)
		}
		if o := ask("d", "prod"); o != mfa.Denied {
			t.Errorf("after it was resumed: %s", o)
		}
	})
}

func TestSlowDenialsDoNotTire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		for i := range 6 {
			s.person.codes("no")
			if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", (&sending{}).send); v.Outcome != mfa.Denied {
				t.Errorf("denial %d: %+v", i, v)
			}
			time.Sleep(6 * time.Minute)
		}
	})
}

func TestPasscodeCommand(t *testing.T) {
	t.Parallel()
	type test struct {
		printed secret.Secret
		err     error
		codes   []string
		right   string
		asked   []string
		sent    []string
	}
	tests := map[string]test{
		"right":             {printed: "111 111\n", right: "totp:111111", sent: []string{"totp:111111"}},
		"wrong, then asked": {printed: "111111", right: "totp:222222", codes: []string{"222222"}, sent: []string{"totp:111111", "totp:222222"}, asked: []string{"passcode totp 2/3 wrong code, or one that was used: wait for the next one"}},
		"fails":             {err: errors.New("no device"), right: "totp:222222", codes: []string{"222222"}, sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 "}},
		"prints a sentence": {printed: "touch your key", right: "totp:222222", codes: []string{"222222"}, sent: []string{"totp:222222"}, asked: []string{"passcode totp 1/3 "}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, func(c *stepup.Config) { c.Commands = map[string][]string{"totp": {"ykman"}} })
		s.secrets.printed, s.secrets.err = tt.printed, tt.err
		s.person.codes(tt.codes...)
		up := &sending{right: tt.right}
		if _, v := s.resolver.StepUp(t.Context(), prod("totp"), "tok", up.send); v.Outcome != mfa.Approved {
			t.Errorf("%+v", v)
		}
		if d := cmp.Diff(tt.sent, up.lines); d != "" {
			t.Errorf("sent: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); d != "" {
			t.Errorf("asked: %s", d)
		}
		if last := s.audit.last; last.Event != audit.Approved || last.Method != "totp" {
			t.Errorf("audit log ends with %s by %q", last.Event, last.Method)
		}
	})
}

// Who asks is looked up for what a person or the audit log reads, and for nothing
// else: a search through the process table for each waiting request is not.
func TestWaitersAreNotLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.answer = func(context.Context, prompt.Request) (string, error) {
			time.Sleep(10 * time.Second)
			return "111111", nil
		}
		s.vault.mint = mintsWith("totp:111111", "new")
		var all sync.WaitGroup
		var lookedUp atomic.Int32
		for range 20 {
			all.Go(func() {
				var mine atomic.Bool
				ctx := peer.NewContext(t.Context(), func() peer.Peer {
					if mine.CompareAndSwap(false, true) {
						lookedUp.Add(1)
					}
					return peer.Peer{}
				})
				if _, v := s.resolver.StepUp(ctx, deploy(), "tok", (&sending{right: "token new"}).send); v.Outcome != mfa.Approved {
					t.Errorf("%+v", v)
				}
			})
		}
		all.Wait()
		if n := lookedUp.Load(); n != 1 {
			t.Errorf("%d of 20 were looked up", n)
		}
	})
}

// A program that has no login is asked about one at a time, and no more after three
// denials, whatever names, mounts and namespaces it makes up.
func TestFatigueOfUnprovenLogins(t *testing.T) {
	t.Parallel()
	login := func(i int) rule.Request {
		return rule.Request{Namespace: fmt.Sprint("ns", i), Path: fmt.Sprintf("auth/m%d/login/u%d", i, i), Operation: rule.Update}
	}
	for name, ask := range map[string]func(ctx context.Context, s *fixture, i int) mfa.Verdict{
		"single phase": func(ctx context.Context, s *fixture, i int) mfa.Verdict {
			_, v := s.resolver.LoginWith(ctx, login(i), false, (&loginVault{}).send)
			return v
		},
		"legacy": func(ctx context.Context, s *fixture, i int) mfa.Verdict {
			_, v, _ := s.resolver.BodyLogin(ctx, mfa.MountLogin{Kind: mfa.LegacyMount, Mount: "auth/m"}, login(i), nil)
			return v
		},
		"a rule for logins": func(ctx context.Context, s *fixture, i int) mfa.Verdict {
			m := governedRule()
			m.Unauthenticated, m.DeniedBy, m.Request = true, []string{"root/pay"}, login(i)
			_, v := s.resolver.StepUp(ctx, m, "", (&governed{}).send)
			return v
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, func(c *stepup.Config) {
					c.SinglePhase = stepup.SinglePhase{Methods: []string{"totp"}}
				})
				s.person.answer = func(context.Context, prompt.Request) (string, error) {
					time.Sleep(time.Second)
					return "", prompt.ErrDenied
				}
				asked := func() int { return len(s.person.messages()) }
				var flood sync.WaitGroup
				for i := range 20 {
					flood.Go(func() { ask(t.Context(), s, i) })
				}
				flood.Wait()
				if asked() != 1 {
					t.Errorf("a flood was asked about %d times", asked())
				}
				for i := range 5 {
					time.Sleep(time.Minute)
					ask(t.Context(), s, 20+i)
				}
				if asked() != 3 {
					t.Errorf("asked %d times", asked())
				}
				s.state.Denials.Unmute()
				if v := ask(t.Context(), s, 30); v.Outcome != mfa.Denied || asked() != 4 {
					t.Errorf("when the person is back: %+v after %d", v, asked())
				}
			})
		})
	}
}

// The third denial ends the questions of the same rule that wait behind it: Vault
// takes a token in many spellings, each of which is a caller of its own here.
func TestFatigueEndsWhatWaits(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]rule.Match{"header grant": prod("totp"), "token grant": deploy()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, nil)
				s.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
					select {
					case <-time.After(time.Second):
						return "", prompt.ErrDenied
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				var mu sync.Mutex
				got := make(map[mfa.Outcome]int)
				var flood sync.WaitGroup
				for i := range 20 {
					flood.Go(func() {
						_, v := s.resolver.StepUp(t.Context(), m, secret.Secret(fmt.Sprint("tok", i)), (&sending{}).send)
						mu.Lock()
						defer mu.Unlock()
						got[v.Outcome]++
					})
				}
				flood.Wait()
				if d := cmp.Diff(map[mfa.Outcome]int{mfa.Denied: 3, mfa.Cooldown: 17}, got); d != "" {
					t.Error(d)
				}
			})
		})
	}
}
