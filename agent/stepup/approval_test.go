package stepup_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

const (
	heldBody = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"hvs.WRAP",` +
		`"accessor":"acc-1","ttl":3600,"creation_time":"2026-01-02T03:04:05Z","creation_path":"kv/data/pay"},"warnings":null,"auth":null}`
	released    = `{"data":{"data":{"salary":"1"}}}`
	fetchedText = `{"errors":["wrapping token is not valid or does not exist"]}`
)

func payroll(timeout time.Duration) rule.Match {
	return rule.Match{
		Rule:        &rule.Rule{Name: "payroll", ControlGroup: rule.ControlGroup{Timeout: timeout, Approvers: "the payroll leads"}},
		Request:     rule.Request{Path: "kv/data/pay", Operation: rule.Read},
		Fingerprint: "GET kv/data/pay",
	}
}

// await waits for the approval of a request of "tok".
func (f *fixture) await(ctx context.Context, m rule.Match) result {
	return f.of(f.resolver.Await(ctx, m, "tok", answer(200, heldBody)), nil)
}

func (f *fixture) resume(ctx context.Context, m rule.Match, token secret.Secret) result {
	return f.of(f.resolver.Resume(ctx, m, token), nil)
}

// refusesPoll refuses every question for the approval.
func refusesPoll(status int) func(int) error {
	return func(int) error { return statusError(status, "invalid accessor") }
}

func TestControlGroup(t *testing.T) {
	gives := func(all ...*http.Response) func(*fixture) {
		next := inOrder(all...)
		return func(f *fixture) {
			f.vault.release = func(int) (*http.Response, error) { return next(t.Context(), "") }
		}
	}
	polls := func(err func(n int) error) func(*fixture) {
		return func(f *fixture) { f.vault.pollErr = err }
	}
	type test struct {
		approve  time.Duration // after the start; 0 is never
		held     string        // in the place of heldBody
		silent   bool          // the rule never prompts
		change   func(*fixture)
		notified int
		want     want
	}
	run(t, map[string]test{
		"approved": {
			approve: 20 * time.Second, notified: 1,
			want: want{body: released, outcome: mfa.Approved,
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved}},
		},
		"approved before there is a notice": {
			approve: time.Nanosecond, change: func(f *fixture) { f.vault.approveAt = time.Now() },
			want: want{body: released, outcome: mfa.Approved, audited: []audit.Event{audit.Challenge, audit.Approved}},
		},
		"no approval in time": {
			notified: 1,
			want: want{body: heldBody, outcome: mfa.Timeout, text: "nobody has approved",
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Timeout}},
		},
		"one approval after the other": {
			approve: 30 * time.Second, notified: 2,
			change: func(f *fixture) {
				start := time.Now()
				f.vault.by = func(now time.Time) []string {
					if now.Sub(start) < 10*time.Second {
						return nil
					}
					return []string{"abby"}
				}
			},
			want: want{body: released, outcome: mfa.Approved},
		},
		"the person gives up": {
			notified: 1, change: func(f *fixture) { f.person.push = "no" },
			want: want{body: heldBody, outcome: mfa.Denied, text: "given up here",
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Denied}},
		},
		"a rule that never prompts waits all the same": {
			approve: 20 * time.Second, silent: true, want: want{body: released, outcome: mfa.Approved},
		},
		"no control group": {
			change: polls(refusesPoll(400)), want: want{body: heldBody, audited: []audit.Event{audit.Challenge}},
		},
		"a vault without control groups": {
			change: polls(refusesPoll(404)), want: want{body: heldBody},
		},
		"the token may not ask": {
			change: polls(refusesPoll(403)),
			want:   want{body: heldBody, outcome: mfa.Unavailable, text: "a policy of yours has to grant update on sys/control-group/request"},
		},
		"it expires at vault": {
			notified: 1,
			change: polls(func(n int) error {
				if n < 3 {
					return nil
				}
				return statusError(400)
			}),
			want: want{body: heldBody, outcome: mfa.Unavailable, text: "no longer knows"},
		},
		"vault cannot be asked for a while": {
			approve: 20 * time.Second, notified: 1,
			change: polls(func(n int) error {
				switch n {
				case 1:
					return statusError(503)
				case 2:
					return errors.New("connection refused")
				}
				return nil
			}),
			want: want{body: released, outcome: mfa.Approved},
		},
		"approved, and yet not": {
			approve: 5 * time.Second, notified: 1,
			change: gives(answer(400, `{"errors":["Request needs further approval"]}`), answer(200, released)),
			want:   want{body: released, outcome: mfa.Approved},
		},
		"the request itself fails when it is carried out": {
			approve: 5 * time.Second, notified: 1, change: gives(answer(404, `{"errors":[]}`)),
			want: want{status: 404, body: `{"errors":[]}`, outcome: mfa.Approved},
		},
		"vault does not give it out": {
			approve: 5 * time.Second, notified: 1, change: gives(answer(403, generic)),
			want: want{body: heldBody, outcome: mfa.Unavailable, text: "does not give out"},
		},
		"fetched elsewhere": {
			approve: 5 * time.Second, notified: 1, change: gives(answer(400, fetchedText)),
			want: want{body: heldBody, outcome: mfa.Unavailable, text: "fetched elsewhere"},
		},
		"not an answer of a control group": {held: `{"data":{"a":"b"},"wrap_info":null}`, want: want{body: `{"data":{"a":"b"},"wrap_info":null}`}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		if tt.approve > 0 {
			f.vault.approveAt = time.Now().Add(tt.approve)
		}
		if tt.change != nil {
			tt.change(f)
		}
		m := payroll(55 * time.Second)
		m.Rule.Silent = tt.silent
		tt.want.status = cmp.Or(tt.want.status, 200)
		f.of(f.resolver.Await(t.Context(), m, "tok", answer(200, cmp.Or(tt.held, heldBody))), nil).check(t, tt.want)
		equal(t, "notices", tt.notified, len(f.person.messages()))
		for _, h := range f.vault.released {
			if h.Caller != "tok" || h.Wrapping != "hvs.WRAP" {
				t.Errorf("released with %q and %q", h.Caller.Reveal(), h.Wrapping.Reveal())
			}
		}
	})
}

// The person reads which people may approve, how, and which have.
func TestControlGroupWords(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start := time.Now()
		f.vault.by = func(now time.Time) []string {
			if now.Sub(start) < 5*time.Second {
				return nil
			}
			return []string{"Abby Jones", "\x1b[31mBob\n"}
		}
		const order = "push  1/3 vault wants the approval of other people: vault write sys/control-group/authorize accessor=acc-1; ask the payroll leads"
		f.await(t.Context(), payroll(20*time.Second)).check(t, want{
			outcome: mfa.Timeout, asked: []string{order, order + "; approved so far by Abby Jones, ?(31mBob"},
		})
	})
}

// The command of the approvers names the namespace. A program chooses it, so that only what
// cannot be another command becomes a part of this one.
func TestControlGroupNamespace(t *testing.T) {
	const command, rest = "vault write ", "sys/control-group/authorize accessor=acc-1"
	for namespace, want := range map[string]string{
		"ns1":               command + "-namespace=ns1 " + rest + ";",
		"team/sub-1":        command + "-namespace=team/sub-1 " + rest + ";",
		"":                  command + rest + ";",
		"a;curl x|sh":       command + rest + " (in the namespace of the request);",
		"x$(id) `id`":       command + rest + " (in the namespace of the request);",
		"-output-curl-x":    command + "-namespace=-output-curl-x " + rest + ";",
		"sys":               command + rest + " (in the namespace of the request);",
		"a\x1b[31m\nb ../c": command + rest + " (in the namespace of the request);",
	} {
		t.Run(want, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				m := payroll(20 * time.Second)
				m.Request.Namespace = namespace
				f.await(t.Context(), m)
				if asked := f.person.messages(); len(asked) == 0 || !strings.Contains(asked[0], want) {
					t.Errorf("%q: %q, want %q in it", namespace, asked, want)
				}
			})
		})
	}
}

// Vault is asked soon, then every ten seconds, and not after the time is over.
func TestControlGroupPace(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		start := time.Now()
		f.await(t.Context(), payroll(10*time.Minute))
		polled := f.vault.polled
		if n := len(polled); n < 60 || n > 70 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		for i := 1; i < len(polled); i++ {
			if gap := polled[i].Sub(polled[i-1]); gap < time.Second || gap > 10*time.Second {
				t.Errorf("gap %d is %s", i, gap)
			}
		}
		equal(t, "duration", 10*time.Minute, time.Since(start))
	})
}

// After the app has left, Vault is not asked any more, and no prompt stays open.
func TestControlGroupAppLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, leave)
		f.await(ctx, payroll(time.Hour)).check(t, want{outcome: mfa.Unavailable})
		n := len(f.vault.polled)
		time.Sleep(time.Minute)
		equal(t, "polled later, open prompts", [2]int{n, 0}, [2]int{len(f.vault.polled), f.broker.Len()})
	})
}

// The next try of the same request goes on with the same approval. That of another caller does
// not, and no other request.
func TestResume(t *testing.T) {
	other := func(change func(*rule.Match)) rule.Match {
		m := payroll(time.Minute)
		change(&m)
		return m
	}
	type test struct {
		match  rule.Match
		token  secret.Secret
		change func(*fixture)
		found  bool
	}
	run(t, map[string]test{
		"the same request":     {match: payroll(time.Minute), token: "tok", found: true},
		"the rule was renamed": {match: other(func(m *rule.Match) { m.Rule.Name = "pay" }), token: "tok", found: true},
		"another caller":       {match: payroll(time.Minute), token: "other"},
		"another body":         {match: other(func(m *rule.Match) { m.Fingerprint = "x" }), token: "tok"},
		"an unknown body":      {match: other(func(m *rule.Match) { m.Fingerprint = "" }), token: "tok"},
		"another namespace":    {match: other(func(m *rule.Match) { m.Request.Namespace = "ns1" }), token: "tok"},
		"after stepup lock":    {match: payroll(time.Minute), token: "tok", change: func(f *fixture) { f.state.Cancel() }},
		"after its time":       {match: payroll(time.Minute), token: "tok", change: func(f *fixture) { time.Sleep(time.Hour) }},
		"vault knows it no more": {match: payroll(time.Minute), token: "tok", change: func(f *fixture) {
			f.vault.pollErr = refusesPoll(400)
		}},
		"the token was revoked": {match: payroll(time.Minute), token: "tok", change: func(f *fixture) {
			f.vault.pollErr = refusesPoll(403)
		}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.await(t.Context(), payroll(10*time.Second)).check(t, want{outcome: mfa.Timeout})
		if tt.change != nil {
			tt.change(f)
		}
		f.vault.approveAt = time.Now().Add(5 * time.Second)
		r := f.resume(t.Context(), tt.match, tt.token)
		if !tt.found {
			r.check(t, want{status: none})
			equal(t, "released", 0, len(f.vault.released))
			return
		}
		r.check(t, want{outcome: mfa.Approved, status: 200, body: released})
		f.resume(t.Context(), tt.match, tt.token).check(t, want{}) // it is not served twice
	})
}

// Many requests that are the same wait together: Vault is asked by one of them, the answer is
// fetched once, and every one gets it. The first may leave.
func TestResumeTogether(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		first, leave := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if r := f.await(first, payroll(time.Hour)); r.v.OK() {
				t.Errorf("the one that left got %+v", r.v)
			}
		})
		synctest.Wait()
		for range 5 {
			waiting.Go(func() {
				f.resume(t.Context(), payroll(time.Hour), "tok").check(t, want{outcome: mfa.Approved, status: 200, body: released})
			})
		}
		pass(20 * time.Second)
		leave()
		f.vault.groupMu.Lock()
		f.vault.approveAt = time.Now().Add(time.Minute)
		f.vault.groupMu.Unlock()
		waiting.Wait()
		equal(t, "fetched", 1, len(f.vault.released))
		if n := len(f.vault.polled); n > 20 {
			t.Errorf("asked %d times in 80 s by six requests", n)
		}
	})
}

// The app leaves while the answer, which comes once, is fetched: its next try has it, within a
// minute, if its token is still alive.
func TestAnswerOutlivesItsApp(t *testing.T) {
	type test struct {
		after time.Duration
		token secret.Secret
		dead  bool
		want  want
	}
	run(t, map[string]test{
		"soon":              {after: 30 * time.Second, token: "tok", want: want{outcome: mfa.Approved, status: 200, body: released}},
		"too late":          {after: 2 * time.Minute, token: "tok"},
		"another caller":    {after: time.Second, token: "other"},
		"token was revoked": {after: time.Second, token: "tok", dead: true},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		ctx, leave := context.WithCancel(t.Context())
		f.vault.approveAt = time.Now().Add(5 * time.Second)
		f.vault.release = func(int) (*http.Response, error) {
			leave()
			return answer(200, released), nil
		}
		f.await(ctx, payroll(time.Hour))
		time.Sleep(tt.after)
		f.vault.callerDead = tt.dead
		r := f.resume(t.Context(), payroll(time.Hour), tt.token)
		if tt.want.outcome != "" || r.v.Outcome == mfa.Approved {
			r.check(t, tt.want)
		}
	})
}

// After a denial the person is not asked during the cool-down, and neither is Vault.
func TestControlGroupCooldown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.push = "no"
		f.await(t.Context(), payroll(time.Hour)).check(t, want{outcome: mfa.Denied})
		polled := len(f.vault.polled)
		f.await(t.Context(), payroll(time.Hour)).check(t, want{outcome: mfa.Cooldown})
		equal(t, "polled", polled, len(f.vault.polled))
		f.resume(t.Context(), payroll(time.Hour), "tok").check(t, want{}) // the denied wait does not go on
	})
}

// Memory is bounded: what comes beyond the limit is waited for and not remembered.
func TestApprovalsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		match := func(i int) rule.Match {
			m := payroll(time.Second)
			m.Fingerprint = strings.Repeat("x", i+1)
			m.Rule.Silent = true
			return m
		}
		const many = 300
		for i := range many {
			f.await(t.Context(), match(i))
		}
		found := 0
		for i := range many {
			if r := f.resume(t.Context(), match(i), "tok"); r.v.Outcome != "" {
				found++
			}
		}
		equal(t, "remembered", 256, found)
	})
}

// Under a token or login grant the request was sent with the step-up token: Vault is asked with
// that one, and only for a caller whose own is still alive.
func TestControlGroupBehindAToken(t *testing.T) {
	run(t, map[string]bool{"alive": false, "revoked": true}, func(t *testing.T, dead bool) {
		f := newFixture(t, nil)
		held := answer(200, heldBody)
		held.Request = &http.Request{Header: http.Header{"X-Vault-Token": {"hvs.stepup"}}}
		f.of(f.resolver.Await(t.Context(), payroll(10*time.Second), "tok", held), nil).check(t, want{outcome: mfa.Timeout})
		f.vault.callerDead, f.vault.approveAt = dead, time.Now()
		r := f.resume(t.Context(), payroll(time.Minute), "tok")
		if dead {
			r.check(t, want{})
			equal(t, "released", 0, len(f.vault.released))
			return
		}
		r.check(t, want{outcome: mfa.Approved})
		equal(t, "released", 1, len(f.vault.released))
		equal(t, "released with", secret.Secret("hvs.stepup"), f.vault.released[0].Caller)
	})
}
