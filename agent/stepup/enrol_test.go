package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	seedText = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	loggedIn = `{"auth":{"client_token":"hvs.late","lease_duration":60}}`
)

// An enroller makes secrets, and ends tokens.
type enroller struct {
	mu      sync.Mutex
	err     error
	made    []string // request and method
	revoked []string
}

func (e *enroller) SelfEnrol(_ context.Context, c mfa.Challenge, method string) (vault.Enrolment, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made = append(e.made, c.RequestID+" "+method)
	return vault.Enrolment{Secret: seedText, Issuer: "Vault", Account: "alice", Algorithm: "SHA1", Digits: 6, Period: 30}, e.err
}

func (e *enroller) RevokeSelf(_ context.Context, token secret.Secret, namespace string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoked = append(e.revoked, namespace+" "+token.Reveal())
	return nil
}

// selfEnrol is a login that offers to make a secret.
func selfEnrol() mfa.Challenge {
	m := totp("m1", "totp")
	m.SelfEnrollment = true
	c := constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{m}})
	c.Namespace = "ns1"
	return c
}

func newEnrolFixture(t *testing.T) (*fixture, *enroller) {
	t.Helper()
	e := &enroller{}
	s := newFixture(t, func(c *stepup.Config) { c.Vault.(*fakeVault).enrolling = e })
	s.vault.validate = func(context.Context, map[string][]string) (*http.Response, error) {
		return answer(200, loggedIn), nil
	}
	return s, e
}

// typing is how a person comes to a code.
type typing = func(ctx context.Context) (string, error)

// says confirms, and gives the codes in their order.
func (p *person) says(codes ...typing) {
	p.answer = func(ctx context.Context, r prompt.Request) (string, error) {
		if r.Kind == prompt.Confirm {
			return "yes", nil
		}
		p.mu.Lock()
		next := codes[0]
		codes = codes[1:]
		p.mu.Unlock()
		return next(ctx)
	}
}

// after types a code when so much time has passed.
func after(d time.Duration, code string) typing {
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(d):
			return code, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// pass lets time pass, and everything happen that does by then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestEnrol(t *testing.T) {
	t.Parallel()
	twoMethods := selfEnrol()
	twoMethods.Constraints = append(twoMethods.Constraints, mfa.Constraint{Name: "b", Any: []mfa.Method{totp("m2", "second")}})
	const (
		confirm = "confirm totp 1/3 vault has no secret of yours for this method yet, and offers to set one up: have an authenticator at hand"
		first   = "passcode totp 1/3 your new secret: a first code of it finishes the login"
		again   = "passcode totp 2/3 wrong code, or one that was used: wait for the next one"
	)
	type test struct {
		challenge mfa.Challenge
		err       error // of Vault, to the wish for a secret
		codes     []string
		wrong     int // so many codes are wrong
		outcome   mfa.Outcome
		text      string
		asked     []string
		made      int
		events    []audit.Event
	}
	run(t, map[string]test{
		"set up": {
			codes: []string{"yes", "111111"}, outcome: mfa.Approved, made: 1, asked: []string{confirm, first},
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Prompt, audit.Enrolled, audit.Approved},
		},
		"a wrong code, then a right one of the same secret": {
			codes: []string{"yes", "111111", "222222"}, wrong: 1, outcome: mfa.Approved, made: 1, asked: []string{confirm, first, again},
		},
		"a code that is too short is not sent": {
			codes: []string{"yes", "11111", "222222"}, outcome: mfa.Approved, made: 1,
			asked: []string{confirm, first, "passcode totp 2/3 a code of this method has 6 digits"},
		},
		"a code that was sent is not sent again": {
			codes: []string{"yes", "111111", "111111", "222222"}, wrong: 1, outcome: mfa.Approved, made: 1,
			asked: []string{confirm, first, again, "passcode totp 3/3 that code was sent already: wait for the next one"},
		},
		"attempts used up": {
			codes: []string{"yes", "111111", "222222", "333333"}, wrong: 3, outcome: mfa.Rejected, text: "did not accept the codes", made: 1,
		},
		"not wanted":         {codes: []string{"no"}, outcome: mfa.Denied, text: "did not want to set one up", asked: []string{confirm}},
		"denied at the code": {codes: []string{"yes", "no"}, outcome: mfa.Denied, text: "was denied", made: 1},
		"there is one already": {
			err: vault.ErrEnrolled, codes: []string{"yes", "111111"}, outcome: mfa.Approved, made: 1, asked: []string{confirm, "passcode totp 1/3 "},
		},
		"vault does not make one": {
			err: &vault.StatusError{Status: 400, Errors: []string{"no"}}, codes: []string{"yes"}, outcome: mfa.Unavailable,
			text: "did not set up an authenticator for you: vault answered 400: no", made: 1,
		},
		"not for one of several": {
			challenge: twoMethods, codes: []string{"111111", "222222"}, outcome: mfa.Approved, asked: []string{"passcode totp 1/3 ", "passcode second 1/3 "},
		},
	}, func(t *testing.T, tt test) {
		s, e := newEnrolFixture(t)
		e.err = tt.err
		s.person.codes(tt.codes...)
		s.vault.validate = func(context.Context, map[string][]string) (*http.Response, error) {
			if tt.wrong--; tt.wrong >= 0 {
				return answer(403, wrongText), nil
			}
			return answer(200, loggedIn), nil
		}
		if tt.challenge.RequestID == "" {
			tt.challenge = selfEnrol()
		}
		resp, v := s.resolver.Login(t.Context(), tt.challenge, loginRequest)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if v.OK() {
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != loggedIn {
				t.Errorf("the app gets %q, %v", body, err)
			}
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
		if d := cmp.Diff(tt.events, s.audit.events); tt.events != nil && d != "" {
			t.Errorf("audit: %s", d)
		}
		if len(e.made) != tt.made || tt.made > 0 && e.made[0] != "r m1" || len(e.revoked) > 0 {
			t.Errorf("made %q, revoked %q", e.made, e.revoked)
		}
	})
}

// The person sees the secret with every question for a code of it, and there is
// time for it; a question about anything else has none.
func TestEnrolShowsTheSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newEnrolFixture(t)
		s.person.codes("yes", "11111", "222222")
		s.resolver.Login(t.Context(), selfEnrol(), loginRequest)
		if len(s.person.asked) != 3 || s.person.asked[0].Enrolment != nil {
			t.Fatalf("asked %+v", s.person.messages())
		}
		for _, r := range s.person.asked[1:] {
			e := r.Enrolment
			if e == nil || e.Secret.Reveal() != seedText || e.Issuer != "Vault" || e.Account != "alice" || e.Digits != 6 || e.Period != 30 {
				t.Errorf("shown %#v", e)
			}
			if left := time.Until(r.Deadline); left != 285*time.Second {
				t.Errorf("%s left", left)
			}
			if text := fmt.Sprintf("%v %+v", r, e); strings.Contains(text, seedText) {
				t.Errorf("the secret is printed: %s", text)
			}
		}
	})
}

// An app waits no longer than for any other prompt. The person goes on, the token
// that nobody waits for is revoked, and the next login is an ordinary one.
func TestEnrolOutlivesItsApp(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]time.Duration{"timed out": 0, "left": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, e := newEnrolFixture(t)
				s.person.says(after(70*time.Second, "111111"), after(time.Second, "222222"))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if leaves > 0 {
					time.AfterFunc(leaves, cancel)
				}
				started := time.Now()
				resp, v := s.resolver.Login(ctx, selfEnrol(), loginRequest)
				if took := time.Since(started); took > 55*time.Second {
					t.Errorf("the app waited for %s", took)
				}
				if leaves == 0 && (v.Outcome != mfa.Timeout || !strings.Contains(v.Message, "still being set up")) || resp != nil {
					t.Errorf("%+v, %+v", resp, v)
				}
				pass(time.Until(started.Add(80 * time.Second))) // now it is set up
				if d := cmp.Diff([]string{"ns1 hvs.late"}, e.revoked); d != "" {
					t.Errorf("revoked: %s", d)
				}
				for _, event := range []audit.Event{audit.Enrolled, audit.Revoked, audit.Approved} {
					if !slices.Contains(s.audit.events, event) {
						t.Errorf("the audit log has no %s: %v", event, s.audit.events)
					}
				}
				next := selfEnrol()
				next.Constraints[0].Any[0].SelfEnrollment = false
				if _, v := s.resolver.Login(t.Context(), next, loginRequest); !v.OK() || len(e.made) != 1 {
					t.Errorf("the next login: %+v, secrets %q", v, e.made)
				}
			})
		})
	}
}

// A login that comes while the person is at it waits for that, and then asks for a
// code of its own.
func TestEnrolIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, e := newEnrolFixture(t)
		s.person.says(after(70*time.Second, "111111"), after(10*time.Second, "222222"))
		if _, v := s.resolver.Login(t.Context(), selfEnrol(), loginRequest); v.Outcome != mfa.Timeout {
			t.Fatalf("%+v", v)
		}
		second := selfEnrol()
		second.RequestID = "r2"
		resp, v := s.resolver.Login(t.Context(), second, loginRequest)
		if !v.OK() || resp == nil {
			t.Errorf("%+v", v)
		}
		if len(e.made) != 1 {
			t.Errorf("secrets: %q", e.made)
		}
		last := s.person.messages()
		if want := "passcode totp 1/3 the last code was used a moment ago: wait for the next one"; last[len(last)-1] != want || len(last) != 3 {
			t.Errorf("asked %q", last)
		}
	})
}

// Nobody types a code: Vault forgets the login, and so do we.
func TestEnrolEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, e := newEnrolFixture(t)
		s.person.says(after(time.Hour, "111111"))
		started := time.Now()
		s.resolver.Login(t.Context(), selfEnrol(), loginRequest)
		second := selfEnrol()
		_, v := s.resolver.Login(t.Context(), second, loginRequest)
		if v.Outcome != mfa.Timeout || !strings.Contains(v.Message, "still being set up") {
			t.Errorf("while it goes on: %+v", v)
		}
		pass(time.Until(started.Add(290 * time.Second)))
		if _, v := s.resolver.Login(t.Context(), selfEnrol(), loginRequest); v.Outcome != mfa.Cooldown {
			t.Errorf("after it has ended: %+v", v)
		}
		if len(e.made) != 1 || len(s.vault.validated) > 0 {
			t.Errorf("secrets %q, validated %q", e.made, s.vault.validated)
		}
	})
}

// stepup lock ends it, whether an app waits for it or not.
func TestEnrolIsLocked(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]time.Duration{"while the app waits": 10 * time.Second, "when it has gone": 60 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _ := newEnrolFixture(t)
				s.person.says(after(time.Hour, "111111"))
				ended := make(chan mfa.Verdict, 1)
				go func() {
					_, v := s.resolver.Login(t.Context(), selfEnrol(), loginRequest)
					ended <- v
				}()
				pass(when)
				s.state.Cancel()
				if n := s.broker.Len(); n > 0 {
					t.Errorf("%d questions are open", n)
				}
				if v := <-ended; when < 55*time.Second && (v.Outcome != mfa.Denied || !strings.Contains(v.Message, "stepup lock")) {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

// Where nobody can show a secret, the app gets Vault's own answer.
func TestEnrolWithNobodyToShow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newEnrolFixture(t)
		s.person.answer = func(_ context.Context, r prompt.Request) (string, error) {
			if r.Enrolment != nil {
				return "", prompt.ErrUnavailable
			}
			return "yes", nil
		}
		_, v := s.resolver.Login(t.Context(), selfEnrol(), loginRequest)
		if v.Outcome != mfa.Unavailable || !v.NoPrompt {
			t.Errorf("%+v", v)
		}
	})
}

// A token that cannot be revoked, and an app that leaves while Vault decides.
func TestEnrolLeavesNoToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, e := newEnrolFixture(t)
		s.person.says(after(50*time.Second, "111111"))
		s.vault.validate = func(ctx context.Context, _ map[string][]string) (*http.Response, error) {
			select {
			case <-time.After(10 * time.Second):
				return answer(200, loggedIn), nil
			case <-ctx.Done():
				return nil, errors.New("the code was sent in vain")
			}
		}
		if _, v := s.resolver.Login(t.Context(), selfEnrol(), loginRequest); v.Outcome != mfa.Timeout {
			t.Errorf("%+v", v)
		}
		pass(10 * time.Second)
		if d := cmp.Diff([]string{"ns1 hvs.late"}, e.revoked); d != "" {
			t.Errorf("revoked: %s", d)
		}
	})
}
