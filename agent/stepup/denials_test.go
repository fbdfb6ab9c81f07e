package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// named is a rule of that name with a header grant.
func named(name string) rule.Match {
	m := prod("totp")
	m.Rule.Name = name
	return m
}

// After a denial there is no prompt for a while: for the same caller and rule, and for no other.
func TestCooldown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.right = "totp:111111"
		f.person.codes("no", "no", "no", "111111")
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Denied})
		time.Sleep(10 * time.Second)
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Cooldown, text: "try again in 20 seconds"})
		f.stepUpOf(t.Context(), prod("totp"), "other").check(t, want{outcome: mfa.Denied})
		f.stepUp(t.Context(), named("else")).check(t, want{outcome: mfa.Denied})
		time.Sleep(20 * time.Second)
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Approved})
	})
}

// A denied login starts the cool-down of logins on the same path, and of no others.
func TestLoginCooldown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.says("no")
		one, other := anyOf(totp("m1", "totp")), loginRequest
		other.Path = "auth/userpass/login/bob"
		f.login(t.Context(), one).check(t, want{outcome: mfa.Denied})
		f.login(t.Context(), one).check(t, want{outcome: mfa.Cooldown})
		f.of(f.resolver.Login(t.Context(), one, other), nil).check(t, want{outcome: mfa.Denied})
	})
}

// Requests of one caller under one rule wait for each other, and one denial answers all that
// wait.
func TestOnePromptAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("1s no")
		together(50, func(int) { f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Denied}) })
		equal(t, "prompts", 1, len(f.person.messages()))
	})
}

// A request that waited for a denial gets it, even if its turn comes when the cool-down is
// over: on a busy machine, a short one ends before all of them were answered.
func TestDenialOutlivesTheCooldownForThoseThatWaited(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(func(c *stepup.Config) { c.Cooldown = time.Nanosecond })
		f.person.codes("10s no")
		f.audit.slow = func() { time.Sleep(time.Second) } // between the denial and the next one's turn
		together(3, func(int) { f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Denied}) })
	})
}

func TestSecondWaiterIsAskedForTheNextCode(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111", "222222")
		f.up.right = "totp:111111"
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Approved})
		f.up.right = "totp:222222"
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Approved, asked: []string{
			"passcode totp 1/3 ", "passcode totp 1/3 the last code was used a moment ago: wait for the next one",
		}})
	})
}

// A waiter that was never shown a prompt starts no cool-down.
func TestWaiterTimesOut(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.says("50s 111111")
		f.up.right, f.up.delay = "totp:111111", 20*time.Second
		var all sync.WaitGroup
		all.Go(func() { f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Approved}) })
		synctest.Wait()
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Timeout, text: "another request"})
		all.Wait()
	})
}

// No prompt stays open for an app that left, and its departure is no denial.
func TestAppLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("never", "111111")
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { f.stepUp(ctx, prod("totp")) })
		synctest.Wait()
		equal(t, "open prompts", 1, f.broker.Len())
		leave()
		all.Wait()
		equal(t, "open prompts after the app left", 0, f.broker.Len())
		f.up.right = "totp:111111"
		f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Approved})
	})
}

func TestNeverPrompt(t *testing.T) {
	type test struct {
		never factor.NeverPrompt
		rule  bool
		peer  peer.Peer
		want  want
	}
	run(t, map[string]test{
		"rule never prompts":      {rule: true, want: want{outcome: mfa.Unavailable, text: `prompt = "never"`}},
		"detached program":        {never: factor.NeverPrompt{Detached: true}, peer: peer.Peer{PID: 7, Detached: true}, want: want{outcome: mfa.Unavailable, text: "without a terminal"}},
		"program with a terminal": {never: factor.NeverPrompt{Detached: true}, peer: peer.Peer{PID: 7}, want: want{outcome: mfa.Denied}},
		"detached, but wanted":    {peer: peer.Peer{Detached: true}, want: want{outcome: mfa.Denied}},
		"program on the list":     {never: factor.NeverPrompt{Match: func(p peer.Peer) bool { return p.Exe == "/usr/sbin/cron" }}, peer: peer.Peer{PID: 7, Exe: "/usr/sbin/cron"}, want: want{outcome: mfa.Unavailable, text: "cause no question"}},
		"program not on the list": {never: factor.NeverPrompt{Match: func(peer.Peer) bool { return false }}, peer: peer.Peer{PID: 7}, want: want{outcome: mfa.Denied}},

		// It may be detached, and it may be on the list.
		"hidden program, detached ones are not asked for": {never: factor.NeverPrompt{Detached: true}, peer: peer.Peer{Hidden: true}, want: want{outcome: mfa.Unavailable, text: "hides its process"}},
		"hidden program, there is a list":                 {never: factor.NeverPrompt{Match: func(peer.Peer) bool { return false }}, peer: peer.Peer{Hidden: true}, want: want{outcome: mfa.Unavailable, text: "unix socket"}},
		"unknown program":                                 {never: factor.NeverPrompt{Detached: true}, peer: peer.Peer{UID: -1}, want: want{outcome: mfa.Unavailable, text: "cannot be told"}},
		"hidden program that the kernel names":            {never: factor.NeverPrompt{Detached: true, Match: func(peer.Peer) bool { return false }}, peer: peer.Peer{PID: 7, Hidden: true}, want: want{outcome: mfa.Denied}},
		"hidden program, but all are asked for":           {peer: peer.Peer{Hidden: true}, want: want{outcome: mfa.Denied}},
	}, func(t *testing.T, tt test) {
		for _, m := range []rule.Match{prod("totp"), deploy()} {
			f := newFixture(t, func(c *stepup.Config) { c.NeverPrompt = tt.never })
			f.person.codes("no")
			m.Rule.Silent = tt.rule
			ctx := peer.NewContext(t.Context(), func() peer.Peer { return tt.peer })
			f.stepUp(ctx, m).check(t, tt.want)
		}
	})
}

// about asks about a rule of that name for a caller, and is answered so.
func (f *fixture) about(ctx context.Context, name string, caller secret.Secret, answers ...string) result {
	f.person.codes(answers...)
	f.up.right = "totp:111111"
	return f.stepUpOf(ctx, named(name), caller)
}

// mute denies three times under the rule prod.
func (f *fixture) mute(t *testing.T) {
	t.Helper()
	for _, caller := range []secret.Secret{"a", "b", "c"} {
		f.about(t.Context(), "prod", caller, "no").check(t, want{outcome: mfa.Denied})
	}
	f.about(t.Context(), "prod", "d").check(t, want{outcome: mfa.Cooldown})
}

// After three denials in ten minutes a rule is muted, for every caller, until a person resumes
// it; another rule is not.
func TestMuted(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		for _, caller := range []secret.Secret{"a", "b", "c"} {
			f.about(t.Context(), "prod", caller, "no").check(t, want{outcome: mfa.Denied})
			time.Sleep(time.Minute)
		}
		f.about(t.Context(), "prod", "d", "no").check(t, want{outcome: mfa.Cooldown})
		f.about(t.Context(), "other", "d", "no").check(t, want{outcome: mfa.Denied})
		time.Sleep(time.Hour)
		f.about(t.Context(), "prod", "d", "no").check(t, want{outcome: mfa.Cooldown})
		if n, wait := f.state.Denials.Resume(); n != 1 || wait != 0 {
			t.Errorf("resumed %d, wait %s", n, wait)
		}
		f.about(t.Context(), "prod", "d", "no").check(t, want{outcome: mfa.Denied})
	})
}

func TestSlowDenialsDoNotMute(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.says("no")
		for range 6 {
			f.stepUp(t.Context(), prod("totp")).check(t, want{outcome: mfa.Denied})
			time.Sleep(6 * time.Minute)
		}
	})
}

// Prompts without an answer count like denials: three of either in ten minutes.
func TestUnansweredPromptsMute(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.about(t.Context(), "prod", "a", "never").check(t, want{outcome: mfa.Timeout})
		f.about(t.Context(), "prod", "b", "never").check(t, want{outcome: mfa.Timeout})
		f.about(t.Context(), "prod", "c", "no").check(t, want{outcome: mfa.Denied})
		f.about(t.Context(), "prod", "d", "no").check(t, want{outcome: mfa.Cooldown})
		equal(t, "muted", []string{"prod"}, f.state.Denials.All())
	})
}

// A prompt that was withdrawn because the app left counts for nothing, nor does one that waited
// behind others until its time was over.
func TestUnseenPromptsDoNotMute(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(func(c *stepup.Config) { c.Timeout = 30 * time.Second })
		for _, caller := range []secret.Secret{"a", "b", "c", "d"} {
			ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
			f.about(ctx, "prod", caller, "never")
			leave()
		}
		// One prompt of another rule is open longer than the others may be.
		f.person.codes("never")
		var all sync.WaitGroup
		all.Go(func() { _, _ = f.broker.Ask(context.Background(), prompt.Request{Kind: prompt.Confirm}) })
		synctest.Wait()
		time.Sleep(time.Second)
		together(4, func(i int) {
			caller := secret.Secret(fmt.Sprint("waiting", i))
			f.stepUpOf(t.Context(), prod("totp"), caller).check(t, want{outcome: mfa.Timeout})
		})
		all.Wait()
		equal(t, "muted", []string(nil), f.state.Denials.All())
		f.about(t.Context(), "prod", "waiting0", "111111").check(t, want{outcome: mfa.Approved}) // and there is no cool-down
	})
}

// A push that is refused, or not answered, counts like a denial. A lock is none.
func TestPushesMuteAndLocksDoNot(t *testing.T) {
	type test struct {
		ask   func(ctx context.Context, f *fixture, caller secret.Secret) result
		muted []string
	}
	run(t, map[string]test{
		"refused": {func(ctx context.Context, f *fixture, caller secret.Secret) result {
			return f.of(f.resolver.First(ctx, prod("okta"), caller, f.up.send))
		}, []string{"prod"}},
		"not answered": {func(ctx context.Context, f *fixture, _ secret.Secret) result {
			f.vault.validate = after(5*time.Second, always(403, refusedText("push verification timed out")))
			return f.login(ctx, anyOf(okta()))
		}, []string{loginRequest.Path}},
		"locked": {func(ctx context.Context, f *fixture, caller secret.Secret) result {
			time.AfterFunc(time.Second, f.broker.CancelAll)
			return f.stepUpOf(ctx, prod("totp"), caller)
		}, nil},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.says("never")
		f.up.right, f.up.delay = "-", 5*time.Second
		for _, caller := range []secret.Secret{"a", "b", "c"} {
			if r := tt.ask(t.Context(), f, caller); r.v.OK() || r.v.Outcome == "" {
				t.Errorf("outcome %q", r.v.Outcome)
			}
			time.Sleep(time.Minute) // the cool-down
		}
		equal(t, "muted", tt.muted, f.state.Denials.All())
	})
}

// A rule is unmuted when Vault accepts what a person answered, and by nothing less: any program
// can answer a prompt.
func TestOnlyAnAcceptedAnswerUnmutes(t *testing.T) {
	type test struct {
		answers []string
		printed secret.Secret // by a command of the method
		outcome mfa.Outcome   // of the muted rule
	}
	run(t, map[string]test{
		"right code":        {answers: []string{"111111"}, outcome: mfa.Denied},
		"junk codes":        {answers: []string{"123456", "234567", "345678"}, outcome: mfa.Cooldown},
		"a denial":          {answers: []string{"no"}, outcome: mfa.Cooldown},
		"no answer":         {answers: []string{"never"}, outcome: mfa.Cooldown},
		"code of a program": {printed: "111111", outcome: mfa.Cooldown},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, func(c *stepup.Config) {
			if tt.printed != "" {
				c.Commands = map[string][]string{"totp": {"ykman"}}
			}
		})
		f.secrets.err = errors.New("no device")
		f.mute(t)
		f.secrets.printed, f.secrets.err = tt.printed, nil
		f.about(t.Context(), "other", "x", tt.answers...)
		f.secrets.err = errors.New("no device")
		f.about(t.Context(), "prod", "y", "no").check(t, want{outcome: tt.outcome})
	})
}

// An explicit command unmutes once in ten minutes, so that a loop of it gets three prompts in
// that time and no more.
func TestResumeCountsOnceInTenMinutes(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		if n, wait := f.state.Denials.Resume(); n != 0 || wait != 0 {
			t.Errorf("nothing was muted: %d, %s", n, wait)
		}
		start := time.Now()
		for i := 0; time.Since(start) < time.Hour; i++ {
			f.about(t.Context(), "prod", secret.Secret("caller"+string(rune('a'+i%26))), "no")
			f.state.Denials.Resume()
			time.Sleep(time.Second)
		}
		if n := len(f.person.messages()); n > 3*7 {
			t.Errorf("%d prompts in an hour", n)
		}
		if _, wait := f.state.Denials.Resume(); wait <= 0 || wait > 10*time.Minute {
			t.Errorf("wait %s", wait)
		}
	})
}

// A program that has no login gets one prompt at a time, and no more after three denials,
// whatever names, mounts and namespaces it makes up.
func TestUnauthenticatedLoginsAreMuted(t *testing.T) {
	login := func(i int) rule.Request {
		return rule.Request{Namespace: fmt.Sprint("ns", i), Path: fmt.Sprintf("auth/m%d/login/u%d", i, i), Operation: rule.Update}
	}
	run(t, map[string]func(ctx context.Context, f *fixture, i int) result{
		"single phase": func(ctx context.Context, f *fixture, i int) result {
			return f.of(f.resolver.LoginWith(ctx, login(i), false, f.up.send), nil)
		},
		"legacy": func(ctx context.Context, f *fixture, i int) result {
			return f.of(f.resolver.BodyLogin(ctx, mfa.MountLogin{Kind: mfa.LegacyMount, Mount: "auth/m"}, login(i), nil))
		},
		"a rule for logins": func(ctx context.Context, f *fixture, i int) result {
			return f.stepUpOf(ctx, governedLogin(login(i)), "")
		},
	}, func(t *testing.T, ask func(ctx context.Context, f *fixture, i int) result) {
		f := newFixture(t, singlePhase("totp"))
		f.person.says("1s no")
		together(20, func(i int) { ask(t.Context(), f, i) })
		equal(t, "prompts for a flood", 1, len(f.person.messages()))
		for i := range 5 {
			time.Sleep(time.Minute)
			ask(t.Context(), f, 20+i)
		}
		equal(t, "prompts", 3, len(f.person.messages()))
		f.state.Denials.Unmute()
		ask(t.Context(), f, 30).check(t, want{outcome: mfa.Denied})
		equal(t, "prompts when the person is back", 4, len(f.person.messages()))
	})
}

// The third denial ends the prompts of the same rule that wait behind it: Vault takes a token in
// many spellings, each of which is a caller of its own here.
func TestMutingEndsWaitingPrompts(t *testing.T) {
	run(t, map[string]rule.Match{"header grant": prod("totp"), "token grant": deploy()}, func(t *testing.T, m rule.Match) {
		f := newFixture(t, nil)
		f.person.says("1s no")
		var mu sync.Mutex
		got := make(map[mfa.Outcome]int)
		together(20, func(i int) {
			r := f.stepUpOf(t.Context(), m, secret.Secret(fmt.Sprint("tok", i)))
			mu.Lock()
			defer mu.Unlock()
			got[r.v.Outcome]++
		})
		equal(t, "outcomes", map[mfa.Outcome]int{mfa.Denied: 3, mfa.Cooldown: 17}, got)
	})
}

// Without a factor that Vault accepted there are at most so many prompts for the same thing in
// ten minutes, and up to two more of a step-up that has begun.
const mostPrompts = 14

// A program that cannot deny a prompt for the person has other ways to end it: it leaves, it
// answers with junk, it withdraws all of them. None of them asks for ever.
func TestPromptsAreBounded(t *testing.T) {
	junk := func() func(context.Context, prompt.Request) (string, error) {
		code := 0
		return func(context.Context, prompt.Request) (string, error) {
			time.Sleep(5 * time.Second)
			code++
			return fmt.Sprintf("%06d", code), nil
		}
	}
	type test struct {
		match   rule.Match
		answer  func(context.Context, prompt.Request) (string, error) // nil never answers
		leaves  time.Duration                                         // of the app
		pause   time.Duration
		cancels bool // all prompts are withdrawn
	}
	run(t, map[string]test{
		"the app leaves":         {match: prod("totp"), leaves: 2 * time.Second},
		"junk codes":             {match: prod("totp"), answer: junk(), leaves: time.Hour, pause: 31 * time.Second},
		"junk codes for a token": {match: deploy(), answer: junk(), leaves: time.Hour, pause: 31 * time.Second},
		"withdrawn":              {match: prod("totp"), leaves: time.Hour, pause: 26 * time.Second, cancels: true},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.mint = mints("totp:xxxxxx", "t")
		f.person.says("never")
		f.person.answer = tt.answer
		for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(time.Second) {
			ctx, leave := context.WithTimeout(t.Context(), tt.leaves)
			if tt.cancels {
				time.AfterFunc(5*time.Second, f.broker.CancelAll)
			}
			f.stepUpOf(ctx, tt.match, "a")
			leave()
			time.Sleep(tt.pause)
		}
		if n := len(f.person.messages()); n > mostPrompts {
			t.Errorf("%d prompts in ten minutes", n)
		}
	})
}

// A name in capitals is the same login: userpass and ldap do not tell them apart.
func TestSpellingsOfALoginAreMutedTogether(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.says("no")
		for i, name := range []string{"alice", "Alice", "aLice", "alIce", "aliCe", "ALICE"} {
			c := anyOf(totp("id", "totp"))
			c.RequestID = fmt.Sprint(i)
			f.resolver.Login(t.Context(), c, rule.Request{Path: "auth/userpass/login/" + name, Operation: rule.Update})
		}
		equal(t, "prompts", 3, len(f.person.messages()))
	})
}

// An answer that says nothing of the factor unmutes nothing: Vault's rate limit, or a wrong
// password, comes before a junk code is looked at.
func TestOtherErrorsUnmuteNothing(t *testing.T) {
	statuses := make(map[string]int)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusPreconditionFailed, http.StatusBadRequest} {
		statuses[http.StatusText(status)] = status
	}
	run(t, statuses, func(t *testing.T, status int) {
		f := newFixture(t, nil)
		f.mute(t)
		f.up.serve = always(status, `{"errors":["request path \"kv\": rate limit quota exceeded"]}`)
		f.about(t.Context(), "other", "z", "000000")
		equal(t, "muted", 1, len(f.state.Denials.All()))
	})
}

func TestWrongPasswordInOnePhaseUnmutesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.change(singlePhase("totp"))
		f.mute(t)
		before := len(f.person.messages())
		f.up.serve = always(400, wrongLogin)
		for i := range 20 {
			f.person.codes(fmt.Sprintf("%06d", i))
			f.resolver.LoginWith(t.Context(), loginRequest, false, f.up.send)
		}
		if n := len(f.person.messages()) - before; n > mostPrompts {
			t.Errorf("%d questions", n)
		}
		f.about(t.Context(), "prod", "y", "no").check(t, want{outcome: mfa.Cooldown})
	})
}
