package stepup_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
)

// Whatever ends a step-up, the audit log has the end of what it has the beginning of.
func TestEveryEndIsInTheAuditLog(t *testing.T) {
	locks := func(f *fixture, _ context.CancelFunc) {
		f.broker.CancelAll()
		f.state.Cancel()
	}
	leaves := func(_ *fixture, leave context.CancelFunc) { leave() }
	type test struct {
		match rule.Match
		word  string
		after func(f *fixture, leave context.CancelFunc) // a second
		want  []audit.Event
	}
	begun := func(end ...audit.Event) []audit.Event {
		return append([]audit.Event{audit.Challenge, audit.Prompt}, end...)
	}
	run(t, map[string]test{
		"no prompter":          {prod("totp"), "unavailable", nil, begun(audit.Unavailable)},
		"no prompter, a token": {deploy(), "unavailable", nil, begun(audit.Unavailable)},
		"the program leaves":   {prod("totp"), "never", leaves, begun(audit.Withdrawn)},
		"a lock":               {prod("totp"), "never", locks, begun(audit.Denied)},
		"a lock, a token":      {deploy(), "never", locks, begun(audit.Denied)},
		// A token is got also for a program that has left.
		"the program leaves, a token": {deploy(), "never", leaves, begun(audit.Timeout)},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.codes(tt.word)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		if tt.after != nil {
			time.AfterFunc(time.Second, func() { tt.after(f, leave) })
		}
		f.stepUp(ctx, tt.match)
		time.Sleep(2 * time.Minute)
		equal(t, "audit log", tt.want, f.audit.all())
		equal(t, "has a reason", tt.word == "unavailable", strings.HasPrefix(f.audit.last.Reason, "there is no way to ask you"))
	})
}

// A Vault that says what was sent to it does not get that into the audit log.
func TestReasonIsNoEcho(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("111111")
		f.vault.mint = always(400, refusedText("you sent 111111"))
		f.stepUp(t.Context(), deploy()).check(t, want{outcome: mfa.Unavailable, text: "you sent 111111"})
		equal(t, "reason", "vault does not create a token at auth/token/create/stepup", f.audit.last.Reason)
	})
}

// A request that waits for another's question has the end that it gets, too.
func TestEndOfTheOneThatWaits(t *testing.T) {
	type test struct {
		word  string
		leave bool // the one that waits
		want  mfa.Outcome
		end   audit.Event
	}
	run(t, map[string]test{
		"denied":      {"10s no", false, mfa.Denied, audit.Denied},
		"not in time": {"never", false, mfa.Timeout, audit.Timeout},
		"it leaves":   {"10s 111111", true, "", audit.Withdrawn},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.up.right = "totp:111111"
		f.person.codes(tt.word)
		first := make(chan struct{})
		go func() { defer close(first); f.stepUp(t.Context(), prod("totp")) }()
		time.Sleep(time.Second)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		if tt.leave {
			time.AfterFunc(time.Second, leave)
		}
		if v := f.stepUp(ctx, prod("totp")).v; !tt.leave && v.Outcome != tt.want {
			t.Errorf("outcome %q, want %q", v.Outcome, tt.want)
		}
		<-first
		ends := map[audit.Event]int{}
		for _, event := range f.audit.all() {
			ends[event]++
		}
		if ends[audit.Challenge] != 2 || ends[tt.end] == 0 || len(f.audit.all()) != 5 {
			t.Errorf("audit log %v, want two challenges, a prompt and two ends, of which one is %s", f.audit.all(), tt.end)
		}
	})
}
