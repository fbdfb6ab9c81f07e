package stepup_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	approvedText = `{"auth":{"client_token":"hvs.x"}}`
	unknownText  = `{"errors":["invalid request ID"]}`
	orPush       = "or approve the push on your phone (phone, okta)"
	offered      = "passcode totp 1/3 type a code, " + orPush
)

func refusedText(reason string) string {
	return fmt.Sprintf(`{"errors":["failed to satisfy enforcement a. error: 2 errors occurred:\n\t* %s\n\t* login MFA validation failed for methodID: [m1 m3]\n\n"]}`, reason)
}

func okta() mfa.Method { return mfa.Method{ID: "m3", Name: "phone", Type: "okta"} }

func anyOf(all ...mfa.Method) mfa.Challenge {
	return constraints(mfa.Constraint{Name: "a", Any: all})
}

func TestRace(t *testing.T) {
	t.Parallel()
	type test struct {
		codes   []string      // typed after a second each; see person.codes
		thumb   *string       // the phone's word, nil for none; see queue.push
		after   time.Duration // when the thumb comes
		notices time.Duration
		refuse  int
		page    string
		outcome mfa.Outcome
		text    string
		status  int
		queries []string
		asked   []string
	}
	tests := map[string]test{
		"a code is typed": {
			codes: []string{"222222"}, notices: 900 * time.Millisecond, outcome: mfa.Approved, status: 200,
			queries: []string{"", "222222"}, asked: []string{offered},
		},
		"vault puts the login back at once": {
			codes: []string{"222222"}, outcome: mfa.Approved, status: 200, queries: []string{"", "222222"},
		},
		"the push is approved": {
			codes: []string{"never"}, thumb: new(string), after: 5 * time.Second, outcome: mfa.Approved, status: 200,
			queries: []string{""}, asked: []string{offered},
		},
		"the push is refused": {
			codes: []string{"never", "222222"}, thumb: says("push verification explicitly rejected"), after: 5 * time.Second, outcome: mfa.Approved, status: 200,
			queries: []string{"", "222222"},
			asked:   []string{offered, "passcode totp 1/3 the push was refused on the phone: type a code instead"},
		},
		"the push is refused in the provider's words": {
			codes: []string{"never", "222222"}, thumb: says("Authentication rejected by user"), after: 5 * time.Second, outcome: mfa.Approved, status: 200,
			asked: []string{offered, "passcode totp 1/3 the push was refused on the phone: type a code instead"},
		},
		"the push is missed": {
			codes: []string{"never", "222222"}, thumb: says("push verification timed out"), after: 40 * time.Second, outcome: mfa.Approved, status: 200,
			asked: []string{offered, "passcode totp 1/3 nobody approved the push in time: type a code instead"},
		},
		"there is no phone": {
			codes: []string{"never", "222222"}, thumb: says("no push-type MFA factor found for user"), after: 5 * time.Second, outcome: mfa.Approved, status: 200,
			asked: []string{offered, "passcode totp 1/3 there is no phone for the push: type a code instead"},
		},
		"the provider is down": {
			codes: []string{"never", "222222"}, thumb: says(`Get \"https://corp.okta.com/\": dial tcp: lookup corp.okta.com: no such host`), after: 5 * time.Second, outcome: mfa.Approved, status: 200,
			asked: []string{offered, "passcode totp 1/3 vault cannot reach the service that pushes: type a code instead"},
		},
		"vault fails": {
			codes: []string{"never"}, thumb: says("sealed"), after: 5 * time.Second, refuse: 503, outcome: mfa.Unavailable, text: "status 503", status: 503,
		},
		"a gateway ends the wait": {
			codes: []string{"never", "222222"}, thumb: says("-"), after: 10 * time.Second, refuse: 504, page: "<html>", notices: 3 * time.Second, outcome: mfa.Approved, status: 200,
			queries: []string{"", "222222"},
			asked:   []string{offered, "passcode totp 1/3 something between here and vault ended the wait for your phone: type a code instead"},
		},
		"refused, and no code either": {
			codes: []string{"never", "no"}, thumb: says("push verification explicitly rejected"), after: 5 * time.Second, outcome: mfa.Denied, text: "was denied", status: 403,
		},
		"a short code lets the phone ring": {
			codes: []string{"2222", "never"}, thumb: new(string), after: 10 * time.Second, outcome: mfa.Approved, status: 200,
			queries: []string{""}, asked: []string{offered, "passcode totp 2/3 a code of this method has 6 digits, " + orPush},
		},
		"no code is right": {
			codes: []string{"1", "2", "3"}, outcome: mfa.Rejected, text: "did not accept", queries: []string{""},
		},
		"a wrong code is no second push": {
			codes: []string{"111111", "222222"}, notices: time.Second, outcome: mfa.Approved, status: 200,
			queries: []string{"", "111111", "222222"},
			asked:   []string{offered, "passcode totp 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"vault does not let go": {
			codes: []string{"222222"}, notices: time.Hour, outcome: mfa.Unavailable, text: "no longer knows this login", status: 400,
		},
		"denied":         {codes: []string{"no"}, outcome: mfa.Denied, text: "was denied", queries: []string{""}},
		"nobody answers": {codes: []string{"never"}, outcome: mfa.Timeout, text: "nobody answered", queries: []string{""}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, q := newFixture(t, nil), newQueue(t)
		q.notices, q.refuse, q.page = tt.notices, tt.refuse, tt.page
		s.vault.validate = q.validate
		s.person.codes(tt.codes...)
		s.person.thinks(time.Second)
		if tt.thumb != nil {
			time.AfterFunc(tt.after, func() { q.thumb <- *tt.thumb })
		}
		resp, v := s.resolver.Login(t.Context(), anyOf(okta(), totp("m1", "totp")), loginRequest)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if resp == nil && tt.status != 0 || resp != nil && resp.StatusCode != tt.status {
			t.Errorf("answer %+v, want %d", resp, tt.status)
		}
		if d := cmp.Diff(tt.queries, q.asks()); tt.queries != nil && d != "" {
			t.Errorf("validated: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
		if n := s.broker.Len(); n != 0 || q.calls != 0 {
			t.Errorf("%d questions and %d validates stay open", n, q.calls)
		}
	})
}

func says(reason string) *string { return &reason }

// The question ends with the word of the phone.
func TestRaceClosesTheQuestion(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"": "approved on the phone", "push verification explicitly rejected": "refused on the phone"} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, q := newFixture(t, nil), newQueue(t)
				s.vault.validate = q.validate
				events := s.broker.Watch(t.Context(), false)
				var causes []error
				s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
					if len(causes) > 0 {
						return "222222", nil
					}
					<-ctx.Done()
					causes = append(causes, context.Cause(ctx))
					return "", ctx.Err()
				}
				time.AfterFunc(5*time.Second, func() { q.thumb <- word })
				if _, v := s.resolver.Login(t.Context(), anyOf(totp("m1", "totp"), okta()), loginRequest); v.Outcome != mfa.Approved {
					t.Errorf("verdict %+v", v)
				}
				synctest.Wait() // until the question is off the screen
				if d := cmp.Diff([]error{prompt.Decided{Message: want}}, causes); d != "" {
					t.Error(d)
				}
				<-events // the question
				if e := <-events; e.Type != prompt.EventDone || e.Request.Message != want || e.Request.Kind != prompt.Passcode {
					t.Errorf("event %+v", e)
				}
			})
		})
	}
}

// Who cannot be asked for a code, or does not want to be, still has the phone.
func TestRaceWithoutAQuestion(t *testing.T) {
	t.Parallel()
	const refused = "push verification explicitly rejected"
	type test struct {
		err     error // of the prompter
		word    string
		outcome mfa.Outcome
	}
	run(t, map[string]test{
		"nobody can be asked, approved":      {prompt.ErrUnavailable, "", mfa.Approved},
		"nobody can be asked, refused":       {prompt.ErrUnavailable, refused, mfa.Denied},
		"the dialog was closed, approved":    {prompt.ErrDismissed, "", mfa.Approved},
		"the dialog was closed, missed":      {prompt.ErrDismissed, "push verification timed out", mfa.Timeout},
		"nobody can be asked, provider down": {prompt.ErrUnavailable, "dial tcp: no route to host", mfa.Unavailable},
		"nobody can be asked, too many":      {prompt.ErrUnavailable, "maximum TOTP validation attempts 6 exceeded", mfa.Denied},
	}, func(t *testing.T, tt test) {
		s, q := newFixture(t, nil), newQueue(t)
		s.vault.validate = q.validate
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			if r.Kind == prompt.Push {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "", tt.err
		}
		time.AfterFunc(20*time.Second, func() { q.thumb <- tt.word })
		_, v := s.resolver.Login(t.Context(), anyOf(totp("m1", "totp"), okta()), loginRequest)
		if v.Outcome != tt.outcome || v.NoPrompt {
			t.Errorf("verdict %+v", v)
		}
		if d := cmp.Diff([]string{""}, q.asks()); d != "" {
			t.Error(d)
		}
		if asked := s.person.messages(); len(asked) != 2 || !strings.HasPrefix(asked[1], "push phone") {
			t.Errorf("asked %q", asked)
		}
	})
}

// A no to the notice of the phone drops the push.
func TestRacePhoneDeniedHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, q := newFixture(t, nil), newQueue(t)
		s.vault.validate = q.validate
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			if r.Kind == prompt.Push {
				return "", prompt.ErrDenied
			}
			return "", prompt.ErrUnavailable
		}
		resp, v := s.resolver.Login(t.Context(), anyOf(totp("m1", "totp"), okta()), loginRequest)
		if resp != nil || v.Outcome != mfa.Denied || q.calls != 0 {
			t.Errorf("answer %v, verdict %+v, %d validates run", resp, v, q.calls)
		}
	})
}

// A thumb that was faster than the code has logged the person in, whichever of the
// two we hear of first.
func TestRaceThumbWins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, q := newFixture(t, nil), newQueue(t)
		q.deaf = true
		s.vault.validate = q.validate
		s.person.codes("111111")
		time.AfterFunc(2*time.Second, func() { q.thumb <- "" })
		resp, v := s.resolver.Login(t.Context(), anyOf(totp("m1", "totp"), okta()), loginRequest)
		if v.Outcome != mfa.Approved || len(q.asks()) != 1 {
			t.Fatalf("verdict %+v after %q", v, q.asks())
		}
		if body := readAll(t, resp); body != approvedText {
			t.Errorf("answer %s", body)
		}
	})
}

func TestRaceOfAnAppThatLeaves(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]time.Duration{"while it is asked": 5 * time.Second, "while vault lets go": 12 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, q := newFixture(t, nil), newQueue(t)
				q.notices = time.Minute
				s.vault.validate = q.validate
				s.person.codes("222222")
				s.person.thinks(10 * time.Second)
				ctx, leave := context.WithTimeout(t.Context(), when)
				defer leave()
				resp, v := s.resolver.Login(ctx, anyOf(totp("m1", "totp"), okta()), loginRequest)
				if resp != nil || v.Outcome != mfa.Unavailable || s.broker.Len() != 0 || q.calls != 0 {
					t.Errorf("answer %v, verdict %+v, %d validates run", resp, v, q.calls)
				}
				if slices.Contains(s.audit.events, audit.Denied) {
					t.Error("counted as a no")
				}
			})
		})
	}
}

// Where one question cannot stand for both, the person chooses first, or the
// configuration has.
func TestNoRace(t *testing.T) {
	t.Parallel()
	duo := mfa.Method{ID: "m3", Name: "phone", Type: "duo"}
	code := totp("m1", "totp")
	enrolling := code
	enrolling.SelfEnrollment = true
	type test struct {
		challenge mfa.Challenge
		change    func(*stepup.Config)
		first     string // the first question
	}
	run(t, map[string]test{
		"preferred":               {anyOf(code, okta()), func(c *stepup.Config) { c.Prefer = []string{"totp"} }, "passcode totp"},
		"a push preferred":        {anyOf(code, okta()), func(c *stepup.Config) { c.Prefer = []string{"m3"} }, "push phone"},
		"no push unasked":         {anyOf(code, okta()), func(c *stepup.Config) { c.ConfirmPush = true }, "choose a"},
		"a single push unasked":   {anyOf(okta()), func(c *stepup.Config) { c.ConfirmPush = true }, "confirm phone"},
		"preferred, but unasked":  {anyOf(code, okta()), func(c *stepup.Config) { c.ConfirmPush, c.Prefer = true, []string{"phone"} }, "confirm phone"},
		"duo does not let go":     {anyOf(code, duo), nil, "choose a"},
		"three methods":           {anyOf(code, okta(), totp("m2", "second")), nil, "choose a"},
		"two codes":               {anyOf(code, totp("m2", "second")), nil, "choose a"},
		"two pushes":              {anyOf(duo, okta()), nil, "choose a"},
		"a program has the code":  {anyOf(code, okta()), func(c *stepup.Config) { c.Commands = map[string][]string{"totp": {"ykman"}} }, "choose a"},
		"the code has a seed":     {anyOf(code, okta()), func(c *stepup.Config) { c.FromSeed = map[string]bool{"totp": true} }, "choose a"},
		"the code is enrolled":    {anyOf(enrolling, okta()), nil, "choose a"},
		"a second constraint":     {constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{code, okta()}}, mfa.Constraint{Name: "b", Any: []mfa.Method{totp("m2", "second")}}), nil, "choose a"},
		"a second one to approve": {constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{code, okta()}}, mfa.Constraint{Name: "b", Any: []mfa.Method{duo}}), nil, "choose a"},
	}, func(t *testing.T, tt test) {
		s := newFixture(t, tt.change)
		s.person.codes("no")
		s.vault.validate = func(ctx context.Context, _ map[string][]string) (*http.Response, error) {
			time.Sleep(10 * time.Second)
			return answer(200, approvedText), nil
		}
		s.resolver.Login(t.Context(), tt.challenge, loginRequest)
		if asked := s.person.messages(); len(asked) == 0 || !strings.HasPrefix(asked[0], tt.first+" ") {
			t.Errorf("asked %q, want %q first", asked, tt.first)
		}
		if n := len(s.vault.validated); n > 0 && tt.first != "push phone" {
			t.Errorf("%d validates before the person decided", n)
		}
	})
}
