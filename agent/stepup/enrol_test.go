package stepup_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
)

const (
	seedText = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	loggedIn = `{"auth":{"client_token":"hvs.late","lease_duration":60}}`
)

// selfEnrol is a login that offers to make a secret.
func selfEnrol() mfa.Challenge {
	m := totp("m1", "totp")
	m.SelfEnrollment = true
	c := anyOf(m)
	c.Namespace = "ns1"
	return c
}

// enrols makes a Vault that sets up an authenticator, and takes any code.
func (f *fixture) enrols() {
	f.vault.enrolErr, f.vault.validate = nil, always(200, loggedIn)
}

func TestEnrol(t *testing.T) {
	twoMethods := selfEnrol()
	twoMethods.Constraints = append(twoMethods.Constraints, mfa.Constraint{Name: "b", Any: []mfa.Method{totp("m2", "second")}})
	const (
		confirm = "confirm totp 1/3 vault has no secret of yours for this method yet, and offers to set one up: have an authenticator at hand"
		first   = "passcode totp 1/3 your new secret: a first code of it finishes the login"
		again   = "passcode totp 2/3 " + wrongCode
	)
	type test struct {
		challenge mfa.Challenge
		enrolErr  error
		codes     []string
		wrong     int // so many codes are wrong
		made      int
		want      want
	}
	run(t, map[string]test{
		"set up": {
			codes: []string{"yes", "111111"}, made: 1,
			want: want{outcome: mfa.Approved, asked: []string{confirm, first},
				audited: []audit.Event{audit.Challenge, audit.Prompt, audit.Prompt, audit.Enrolled, audit.Approved}},
		},
		"a wrong code, then a right one of the same secret": {
			codes: []string{"yes", "111111", "222222"}, wrong: 1, made: 1,
			want: want{outcome: mfa.Approved, asked: []string{confirm, first, again}},
		},
		"a code that is too short is not sent": {
			codes: []string{"yes", "11111", "222222"}, made: 1,
			want: want{outcome: mfa.Approved,
				asked: []string{confirm, first, "passcode totp 1/3 a code of this method has 6 digits"}},
		},
		"a code that was sent is not sent again": {
			codes: []string{"yes", "111111", "111111", "222222"}, wrong: 1, made: 1,
			want: want{outcome: mfa.Approved,
				asked: []string{confirm, first, again, "passcode totp 2/3 that code was sent already: wait for the next one"}},
		},
		"attempts used up": {
			codes: []string{"yes", "111111", "222222", "333333"}, wrong: 3, made: 1,
			want: want{outcome: mfa.Rejected, text: "did not accept the codes"},
		},
		"not wanted":         {codes: []string{"no"}, want: want{outcome: mfa.Denied, text: "did not want to set one up", asked: []string{confirm}}},
		"denied at the code": {codes: []string{"yes", "no"}, made: 1, want: want{outcome: mfa.Denied, text: "was denied"}},
		"there is one already": {
			enrolErr: vault.ErrEnrolled, codes: []string{"yes", "111111"}, made: 1,
			want: want{outcome: mfa.Approved, asked: []string{confirm, "passcode totp 1/3 "}},
		},
		"vault does not make one": {
			enrolErr: &vault.StatusError{Status: 400, Errors: []string{"no"}}, codes: []string{"yes"}, made: 1,
			want: want{outcome: mfa.Unavailable, text: "did not set up an authenticator for you: vault answered 400: no"},
		},
		"not for one of several": {
			challenge: twoMethods, codes: []string{"111111", "222222"},
			want: want{outcome: mfa.Approved, asked: []string{"passcode totp 1/3 ", "passcode second 1/3 "}},
		},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.enrols()
		f.vault.enrolErr = tt.enrolErr
		f.person.codes(tt.codes...)
		f.vault.validate = func(context.Context, string) (*http.Response, error) {
			if tt.wrong--; tt.wrong >= 0 {
				return answer(403, wrongText), nil
			}
			return answer(200, loggedIn), nil
		}
		if tt.challenge.RequestID == "" {
			tt.challenge = selfEnrol()
		}
		if tt.want.outcome == mfa.Approved {
			tt.want.body = loggedIn // the app gets it
		}
		f.login(t.Context(), tt.challenge).check(t, tt.want)
		equal(t, "made", slices.Repeat([]string{"r m1"}, tt.made), append([]string{}, f.vault.made...))
		equal(t, "revoked", 0, len(f.vault.revoked))
	})
}

// The person sees the secret with every question for a code of it, and there is time for it. A
// question about anything else has none.
func TestEnrolShowsTheSecret(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.enrols()
		f.person.codes("yes", "11111", "222222")
		f.login(t.Context(), selfEnrol())
		if len(f.person.asked) != 3 || f.person.asked[0].Enrolment != nil {
			t.Fatalf("asked %+v", f.person.messages())
		}
		for _, r := range f.person.asked[1:] {
			e := r.Enrolment
			if e == nil || e.Secret.Reveal() != seedText || e.Issuer != "Vault" || e.Account != "alice" || e.Digits != 6 || e.Period != 30 {
				t.Errorf("shown %#v", e)
			}
			equal(t, "time left", 285*time.Second, time.Until(r.Deadline))
			if text := fmt.Sprintf("%v %+v", r, e); strings.Contains(text, seedText) {
				t.Errorf("the secret is printed: %s", text)
			}
		}
	})
}

// An app waits no longer than for any other prompt. The person goes on, the token that comes
// too late is revoked, and the next login is an ordinary one.
func TestEnrolOutlivesItsApp(t *testing.T) {
	run(t, map[string]time.Duration{"timed out": 0, "left": 20 * time.Second}, func(t *testing.T, leaves time.Duration) {
		f := newFixture(t, nil)
		f.enrols()
		f.person.codes("yes", "70s 111111", "1s 222222")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if leaves > 0 {
			time.AfterFunc(leaves, cancel)
		}
		started := time.Now()
		r := f.login(ctx, selfEnrol())
		if took := time.Since(started); took > 55*time.Second {
			t.Errorf("the app waited for %s", took)
		}
		if leaves == 0 {
			r.check(t, want{outcome: mfa.Timeout, text: "still being set up"})
		}
		if r.resp != nil {
			t.Errorf("%+v, %+v", r.resp, r.v)
		}
		pass(time.Until(started.Add(80 * time.Second))) // now it is set up
		equal(t, "revoked", []string{"ns1 hvs.late"}, f.vault.revoked)
		for _, event := range []audit.Event{audit.Enrolled, audit.Revoked, audit.Approved} {
			if !slices.Contains(f.audit.events, event) {
				t.Errorf("the audit log has no %s: %v", event, f.audit.events)
			}
		}
		next := selfEnrol()
		next.Constraints[0].Any[0].SelfEnrollment = false
		f.login(t.Context(), next).check(t, want{outcome: mfa.Approved})
		equal(t, "secrets", 1, len(f.vault.made))
	})
}

// A login that comes during an enrolment waits for that, and then asks for a code of its own.
func TestEnrolIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.enrols()
		f.person.codes("yes", "70s 111111", "10s 222222")
		f.login(t.Context(), selfEnrol()).check(t, want{outcome: mfa.Timeout})
		second := selfEnrol()
		second.RequestID = "r2"
		f.login(t.Context(), second).check(t, want{outcome: mfa.Approved, status: 200})
		equal(t, "secrets", 1, len(f.vault.made))
		last := f.person.messages()
		if len(last) != 3 || last[2] != "passcode totp 1/3 the last code was used a moment ago: wait for the next one" {
			t.Errorf("asked %q", last)
		}
	})
}

// Without a code, Vault forgets the login, and so do we.
func TestEnrolEnds(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.enrols()
		f.person.codes("yes", "1h 111111")
		started := time.Now()
		f.login(t.Context(), selfEnrol())
		f.login(t.Context(), selfEnrol()).check(t, want{outcome: mfa.Timeout, text: "still being set up"})
		pass(time.Until(started.Add(290 * time.Second)))
		f.login(t.Context(), selfEnrol()).check(t, want{outcome: mfa.Cooldown, validated: nothing})
		equal(t, "secrets", 1, len(f.vault.made))
	})
}

// stepup lock ends it, whether an app waits for it or not.
func TestEnrolIsLocked(t *testing.T) {
	run(t, map[string]time.Duration{
		"while the app waits": 10 * time.Second, "when it has gone": 60 * time.Second,
	}, func(t *testing.T, when time.Duration) {
		f := newFixture(t, nil)
		f.enrols()
		f.person.codes("yes", "1h 111111")
		var r result
		var all sync.WaitGroup
		all.Go(func() { r = f.login(t.Context(), selfEnrol()) })
		pass(when)
		f.state.Cancel()
		equal(t, "open questions", 0, f.broker.Len())
		if all.Wait(); when < 55*time.Second {
			r.check(t, want{outcome: mfa.Denied, text: "stepup lock"})
		}
	})
}

// Where no prompt can show a secret, the app gets Vault's own answer.
func TestEnrolWithoutAPrompt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.enrols()
		f.person.codes("yes", "unavailable")
		f.login(t.Context(), selfEnrol()).check(t, want{outcome: mfa.Unavailable, noPrompt: true})
	})
}

// A token whose app leaves while Vault decides is revoked.
func TestEnrolLeavesNoToken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.enrols()
		f.person.codes("yes", "50s 111111")
		f.vault.validate = after(10*time.Second, always(200, loggedIn))
		f.login(t.Context(), selfEnrol()).check(t, want{outcome: mfa.Timeout})
		pass(10 * time.Second)
		equal(t, "revoked", []string{"ns1 hvs.late"}, f.vault.revoked)
	})
}

// A login grant sets up an authenticator on its way, too: an acquisition within the acquisition
// of the token. A request that comes meanwhile joins.
func TestEnrolInALoginGrant(t *testing.T) {
	type test struct {
		code    string
		want    want
		revoked []string
	}
	run(t, map[string]test{
		"in time":  {"20s 111111", want{outcome: mfa.Approved, status: 200}, nil},
		"too late": {"70s 111111", want{outcome: mfa.Timeout}, []string{" new"}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.enrols()
		f.vault.login = always(200, strings.Replace(heldLogin, `"uses_passcode":true`, `"uses_passcode":true,"self_enrollment_enabled":true`, 1))
		f.vault.validate = inOrder(minted("new", 300, 0))
		f.person.codes("pw", "yes", tt.code)
		f.up.right = "token new"
		together(2, func(int) { f.request(t.Context(), secure()).check(t, tt.want) })
		pass(time.Minute)
		equal(t, "revoked", tt.revoked, f.vault.revoked)
		equal(t, "secrets", 1, len(f.vault.made))
	})
}
