package stepup_test

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	orPush  = "or approve the push on your phone (phone, okta)"
	offered = "passcode totp 1/3 type a code, " + orPush
)

// A queue is Vault's queue of held logins with one in it: a validate takes it out, and puts it
// back when it failed (vault/login_mfa.go). Vault notices only after a while that a push was
// dropped.
type queue struct {
	t       *testing.T
	notices time.Duration // from the drop of a push to its end
	deaf    bool          // a push goes on when it is dropped, and ends by the phone only
	refuse  int           // status of a refusal; 0 means 403
	page    string        // what a gateway says instead of Vault's refusal
	phone   chan string   // the answer of the phone: "" approves, anything else is Vault's reason

	mu      sync.Mutex
	out     bool // a validate has the login, or it is used up
	calls   int  // that have not returned
	queries []string
}

// newQueue makes Vault validate by a queue.
func (f *fixture) newQueue(t *testing.T) *queue {
	q := &queue{t: t, phone: make(chan string, 1)}
	f.vault.validate = q.validate
	return q
}

// answers makes the phone answer after a while.
func (q *queue) answers(after time.Duration, reason string) {
	time.AfterFunc(after, func() { q.phone <- reason })
}

func (q *queue) validate(ctx context.Context, payload string) (*http.Response, error) {
	q.mu.Lock()
	if q.calls++; q.calls > 1 {
		q.t.Errorf("%d validates of one login at a time", q.calls)
	}
	q.queries = append(q.queries, payload)
	known := !q.out
	q.out = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.calls--
		q.mu.Unlock()
	}()
	switch {
	case !known:
		return answer(400, unknownText), nil
	case payload == "m3:[]":
		return q.push(ctx)
	case payload == "m1:[222222]":
		return answer(200, approvedText), nil
	}
	q.back(0)
	return answer(403, wrongText), nil
}

// push waits for the phone.
func (q *queue) push(ctx context.Context) (*http.Response, error) {
	dropped := ctx.Done()
	if q.deaf {
		dropped = nil
	}
	select {
	case <-dropped:
		q.back(q.notices)
		return nil, ctx.Err()
	case reason := <-q.phone:
		if reason == "" {
			return answer(200, approvedText), nil
		}
		q.back(q.notices)
		return answer(cmp.Or(q.refuse, 403), cmp.Or(q.page, refusedText(reason))), nil
	}
}

func (q *queue) back(after time.Duration) {
	put := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.out = false
	}
	if after == 0 {
		put()
		return
	}
	time.AfterFunc(after, put)
}

// once are the payloads without the repetitions: "push" and codes.
func (q *queue) once() (all []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, payload := range slices.Compact(slices.Clone(q.queries)) {
		all = append(all, strings.Trim(strings.TrimLeft(strings.Replace(payload, "m3:[]", "push", 1), "m1:"), "[]"))
	}
	return all
}

func TestCodeOrPush(t *testing.T) {
	const refused, typeInstead = "push verification explicitly rejected", "passcode totp 1/3 "
	type test struct {
		codes   []string      // typed after a second each; see person.codes
		phone   string        // its answer; see queue
		after   time.Duration // when that comes; 0 is never
		notices time.Duration
		refuse  int
		page    string
		queries []string
		want    want
	}
	run(t, map[string]test{
		"a code is typed": {
			codes: []string{"222222"}, notices: 900 * time.Millisecond, queries: []string{"push", "222222"},
			want: want{outcome: mfa.Approved, status: 200, asked: []string{offered}},
		},
		"vault puts the login back at once": {
			codes: []string{"222222"}, queries: []string{"push", "222222"},
			want: want{outcome: mfa.Approved, status: 200},
		},
		"the push is approved": {
			codes: []string{"never"}, after: 5 * time.Second, queries: []string{"push"},
			want: want{outcome: mfa.Approved, status: 200, asked: []string{offered}},
		},
		"the push is refused": {
			codes: []string{"never", "222222"}, phone: refused, after: 5 * time.Second,
			queries: []string{"push", "222222"},
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 the push was refused on the phone: type a code instead"}},
		},
		"the push is refused in the provider's words": {
			codes: []string{"never", "222222"}, phone: "Authentication rejected by user", after: 5 * time.Second,
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 the push was refused on the phone: type a code instead"}},
		},
		"the push is missed": {
			codes: []string{"never", "222222"}, phone: "push verification timed out", after: 40 * time.Second,
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 nobody approved the push in time: type a code instead; the program has waited 40 s, and most give up after 60 s"}},
		},
		"there is no phone": {
			codes: []string{"never", "222222"}, phone: "no push-type MFA factor found for user", after: 5 * time.Second,
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 there is no phone for the push: type a code instead"}},
		},
		"the provider is down": {
			codes: []string{"never", "222222"},
			phone: `Get \"https://corp.okta.com/\": dial tcp: lookup corp.okta.com: no such host`, after: 5 * time.Second,
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 vault cannot reach the service that pushes: type a code instead"}},
		},
		"vault fails": {
			codes: []string{"never"}, phone: "sealed", after: 5 * time.Second, refuse: 503,
			want: want{outcome: mfa.Unavailable, text: "status 503", status: 503},
		},
		"a gateway ends the wait": {
			codes: []string{"never", "222222"}, phone: "-", after: 10 * time.Second, refuse: 504, page: "<html>",
			notices: 3 * time.Second, queries: []string{"push", "222222"},
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 something between here and vault ended the wait for your phone: type a code instead"}},
		},
		"refused, and no code either": {
			codes: []string{"never", "no"}, phone: refused, after: 5 * time.Second,
			want: want{outcome: mfa.Denied, text: "was denied", status: 403},
		},
		"a short code does not end the push": {
			codes: []string{"2222", "never"}, after: 10 * time.Second, queries: []string{"push"},
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{offered, "passcode totp 1/3 a code of this method has 6 digits, " + orPush}},
		},
		"no code is right": {
			codes: []string{"1", "2", "3", "4", "5", "6"}, queries: []string{"push"},
			want: want{outcome: mfa.Rejected, text: "did not accept"},
		},
		"a wrong code is no second push": {
			codes: []string{"111111", "222222"}, notices: time.Second, queries: []string{"push", "111111", "222222"},
			want: want{outcome: mfa.Approved, status: 200, asked: []string{offered, "passcode totp 2/3 " + wrongCode}},
		},
		"vault does not let go": {
			codes: []string{"222222"}, notices: time.Hour,
			want: want{outcome: mfa.Unavailable, text: "no longer knows this login", status: 400},
		},
		"denied":    {codes: []string{"no"}, queries: []string{"push"}, want: want{outcome: mfa.Denied, text: "was denied"}},
		"no answer": {codes: []string{"never"}, queries: []string{"push"}, want: want{outcome: mfa.Timeout, text: "nobody answered"}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		q := f.newQueue(t)
		q.notices, q.refuse, q.page = tt.notices, tt.refuse, tt.page
		for _, code := range tt.codes {
			f.person.words = append(f.person.words, "1s "+code)
		}
		if tt.after > 0 {
			q.answers(tt.after, tt.phone)
		}
		tt.want.status = cmp.Or(tt.want.status, none)
		f.login(t.Context(), anyOf(okta(), totp("m1", "totp"))).check(t, tt.want)
		if tt.queries != nil {
			equal(t, "validated", tt.queries, q.once())
		}
		equal(t, "open questions and validates", [2]int{}, [2]int{f.broker.Len(), q.calls})
	})
}

// The question ends with the answer of the phone.
func TestPushClosesTheQuestion(t *testing.T) {
	type test struct{ reason, message string }
	run(t, map[string]test{
		"approved on the phone": {"", "approved on the phone"},
		"refused on the phone":  {"push verification explicitly rejected", "refused on the phone"},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		q := f.newQueue(t)
		events := f.broker.Watch(t.Context(), false)
		var causes []error
		f.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
			if len(causes) > 0 {
				return "222222", nil
			}
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx))
			return "", ctx.Err()
		}
		q.answers(5*time.Second, tt.reason)
		f.login(t.Context(), anyOf(totp("m1", "totp"), okta())).check(t, want{outcome: mfa.Approved})
		synctest.Wait() // until the question is off the screen
		equal(t, "causes", []error{prompt.Decided{Message: tt.message}}, causes)
		<-events // the question
		if e := <-events; e.Type != prompt.EventDone || e.Request.Message != tt.message || e.Request.Kind != prompt.Passcode {
			t.Errorf("event %+v", e)
		}
	})
}

// Where no code can be asked for, or the question was dismissed, the push is still a way.
func TestPushWithoutAQuestion(t *testing.T) {
	const refused = "push verification explicitly rejected"
	type test struct {
		answer  string
		reason  string // of the phone; see queue
		outcome mfa.Outcome
	}
	run(t, map[string]test{
		"no way to ask, approved":         {"unavailable", "", mfa.Approved},
		"no way to ask, refused":          {"unavailable", refused, mfa.Denied},
		"the dialog was closed, approved": {"dismissed", "", mfa.Approved},
		"the dialog was closed, missed":   {"dismissed", "push verification timed out", mfa.Timeout},
		"no way to ask, provider down":    {"unavailable", "dial tcp: no route to host", mfa.Unavailable},
		"no way to ask, too many":         {"unavailable", "maximum TOTP validation attempts 6 exceeded", mfa.Denied},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		q := f.newQueue(t)
		f.person.codes(tt.answer)
		f.person.push = "never"
		q.answers(20*time.Second, tt.reason)
		f.login(t.Context(), anyOf(totp("m1", "totp"), okta())).check(t, want{outcome: tt.outcome})
		equal(t, "validated", []string{"push"}, q.once())
		if asked := f.person.messages(); len(asked) != 2 || !strings.HasPrefix(asked[1], "push phone") {
			t.Errorf("asked %q", asked)
		}
	})
}

// A denied notice drops the push.
func TestPushNoticeDenied(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		q := f.newQueue(t)
		f.person.codes("unavailable")
		f.person.push = "no"
		f.login(t.Context(), anyOf(totp("m1", "totp"), okta())).check(t, want{outcome: mfa.Denied, status: none})
		equal(t, "validates that run", 0, q.calls)
	})
}

// An approval that was faster than the code has logged the person in, even where the code
// comes back first.
func TestApprovalIsFasterThanTheCode(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		q := f.newQueue(t)
		q.deaf = true
		f.person.codes("111111")
		q.answers(2*time.Second, "")
		f.login(t.Context(), anyOf(totp("m1", "totp"), okta())).check(t, want{outcome: mfa.Approved, body: approvedText})
		equal(t, "validated", []string{"push"}, q.once())
	})
}

func TestCodeOrPushOfAnAppThatLeaves(t *testing.T) {
	run(t, map[string]time.Duration{
		"while it is asked": 5 * time.Second, "while vault holds on to the login": 12 * time.Second,
	}, func(t *testing.T, when time.Duration) {
		f := newFixture(t, nil)
		q := f.newQueue(t)
		q.notices = time.Minute
		f.person.codes("10s 222222")
		ctx, leave := context.WithTimeout(t.Context(), when)
		defer leave()
		f.login(ctx, anyOf(totp("m1", "totp"), okta())).check(t, want{outcome: mfa.Unavailable, status: none})
		equal(t, "open questions and validates", [2]int{}, [2]int{f.broker.Len(), q.calls})
		equal(t, "a denial is audited", false, slices.Contains(f.audit.events, audit.Denied))
	})
}

// Where one question cannot stand for both, the person chooses first, or the configuration has.
func TestNoCodeOrPush(t *testing.T) {
	duo := mfa.Method{ID: "m3", Name: "phone", Type: "duo"}
	code, second := totp("m1", "totp"), totp("m2", "second")
	enrolling := code
	enrolling.SelfEnrollment = true
	and := func(b mfa.Method) mfa.Challenge {
		return constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{code, okta()}}, mfa.Constraint{Name: "b", Any: []mfa.Method{b}})
	}
	type test struct {
		challenge mfa.Challenge
		change    func(*stepup.Config)
		first     string // the first question
	}
	run(t, map[string]test{
		"preferred":               {anyOf(code, okta()), func(c *stepup.Config) { c.Prefer = []string{"totp"} }, "passcode totp"},
		"a push preferred":        {anyOf(code, okta()), func(c *stepup.Config) { c.Prefer = []string{"m3"} }, "push phone"},
		"no push unasked":         {anyOf(code, okta()), confirmPush, "choose a"},
		"a single push unasked":   {anyOf(okta()), confirmPush, "confirm phone"},
		"preferred, but unasked":  {anyOf(code, okta()), func(c *stepup.Config) { c.ConfirmPush, c.Prefer = true, []string{"phone"} }, "confirm phone"},
		"duo does not let go":     {anyOf(code, duo), nil, "choose a"},
		"three methods":           {anyOf(code, okta(), second), nil, "choose a"},
		"two codes":               {anyOf(code, second), nil, "choose a"},
		"two pushes":              {anyOf(duo, okta()), nil, "choose a"},
		"a program has the code":  {anyOf(code, okta()), func(c *stepup.Config) { c.Commands = map[string][]string{"totp": {"ykman"}} }, "choose a"},
		"the code has a seed":     {anyOf(code, okta()), func(c *stepup.Config) { c.FromSeed = map[string]bool{"totp": true} }, "choose a"},
		"the code is enrolled":    {anyOf(enrolling, okta()), nil, "choose a"},
		"a second constraint":     {and(second), nil, "choose a"},
		"a second one to approve": {and(duo), nil, "choose a"},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, tt.change)
		f.person.codes("no")
		f.vault.validate = after(10*time.Second, always(200, approvedText))
		f.login(t.Context(), tt.challenge)
		if asked := f.person.messages(); len(asked) == 0 || !strings.HasPrefix(asked[0], tt.first+" ") {
			t.Errorf("asked %q, want %q first", asked, tt.first)
		}
		if n := len(f.vault.validated); n > 0 && tt.first != "push phone" {
			t.Errorf("%d validates before the person decided", n)
		}
	})
}
