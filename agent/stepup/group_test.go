package stepup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	heldBody = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"hvs.WRAP",` +
		`"accessor":"acc-1","ttl":3600,"creation_time":"2026-01-02T03:04:05Z","creation_path":"kv/data/pay"},"warnings":null,"auth":null}`
	released = `{"data":{"data":{"salary":"1"}}}`
)

// A council is the people whose approval Vault wants, and Vault's side of it.
type council struct {
	mu        sync.Mutex
	asked     []time.Time
	released  []vault.Held
	approveAt time.Time // zero: never
	by        func(now time.Time) []string
	askErr    func(n int) error // of the n-th question, from 1
	release   func(n int) (*http.Response, error)
}

func (c *council) ControlGroup(ctx context.Context, _ secret.Secret, _, accessor string) (mfa.GroupState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return mfa.GroupState{}, err
	}
	if accessor != "acc-1" {
		return mfa.GroupState{}, &vault.StatusError{Status: 400, Errors: []string{"invalid accessor"}}
	}
	now := time.Now()
	c.asked = append(c.asked, now)
	if c.askErr != nil {
		if err := c.askErr(len(c.asked)); err != nil {
			return mfa.GroupState{}, err
		}
	}
	s := mfa.GroupState{Approved: !c.approveAt.IsZero() && !now.Before(c.approveAt)}
	if c.by != nil {
		s.By = c.by(now)
	}
	return s, nil
}

func (c *council) Release(_ context.Context, h vault.Held) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = append(c.released, h)
	if c.release != nil {
		return c.release(len(c.released))
	}
	if len(c.released) > 1 {
		return answer(400, `{"errors":["wrapping token is not valid or does not exist"]}`), nil
	}
	return answer(200, released), nil
}

// hall is a stage with a council.
func hall(t *testing.T) (*fixture, *council) {
	t.Helper()
	c := &council{}
	s := newFixture(t, func(rc *stepup.Config) { rc.Vault.(*fakeVault).Vault = c })
	return s, c
}

func payroll(timeout time.Duration) rule.Match {
	return rule.Match{
		Rule:        &rule.Rule{Name: "payroll", ControlGroup: rule.ControlGroup{Timeout: timeout, Approvers: "the payroll leads"}},
		Request:     rule.Request{Path: "kv/data/pay", Operation: rule.Read},
		Fingerprint: "GET kv/data/pay",
	}
}

// bodyOf reads an answer.
func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	if resp == nil {
		return "no answer"
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, b)
}

func TestControlGroup(t *testing.T) {
	t.Parallel()
	errUnapproved := func(n int) (*http.Response, error) {
		if n == 1 {
			return answer(400, `{"errors":["Request needs further approval"]}`), nil
		}
		return answer(200, released), nil
	}
	refuses := func(status int) func(int) error {
		return func(int) error { return &vault.StatusError{Status: status, Errors: []string{"invalid accessor"}} }
	}
	type test struct {
		approve time.Duration // after the start; 0 is never
		timeout time.Duration
		body    string
		change  func(*fixture, *council)
		want    string
		outcome mfa.Outcome
		text    string
		events  []audit.Event
		told    int
	}
	tests := map[string]test{
		"approved": {
			approve: 20 * time.Second, want: "200 " + released, outcome: mfa.Approved, told: 1,
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Approved},
		},
		"approved before anybody is told": {
			approve: time.Nanosecond, want: "200 " + released, outcome: mfa.Approved,
			events: []audit.Event{audit.Challenge, audit.Approved},
			change: func(_ *fixture, c *council) { c.approveAt = time.Now() },
		},
		"nobody approves": {
			want: "200 " + heldBody, outcome: mfa.Timeout, text: "nobody has approved", told: 1,
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Timeout},
		},
		"one approval after the other": {
			approve: 30 * time.Second, want: "200 " + released, outcome: mfa.Approved, told: 2,
			change: func(_ *fixture, c *council) {
				start := time.Now()
				c.by = func(now time.Time) []string {
					if now.Sub(start) < 10*time.Second {
						return nil
					}
					return []string{"abby"}
				}
			},
		},
		"the person gives up": {
			want: "200 " + heldBody, outcome: mfa.Denied, text: "given up here", told: 1,
			events: []audit.Event{audit.Challenge, audit.Prompt, audit.Denied},
			change: func(s *fixture, _ *council) {
				s.person.answer = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
			},
		},
		"a rule that asks nobody waits all the same": {
			approve: 20 * time.Second, want: "200 " + released, outcome: mfa.Approved,
			change: func(s *fixture, _ *council) { s.person.answer = nil },
		},
		"no control group": {
			want: "200 " + heldBody, change: func(_ *fixture, c *council) { c.askErr = refuses(400) },
			events: []audit.Event{audit.Challenge},
		},
		"a vault without control groups": {
			want: "200 " + heldBody, change: func(_ *fixture, c *council) { c.askErr = refuses(404) },
		},
		"the token may not ask": {
			want: "200 " + heldBody, outcome: mfa.Unavailable, text: "sys/control-group/request",
			change: func(_ *fixture, c *council) { c.askErr = refuses(403) },
		},
		"it expires at vault": {
			want: "200 " + heldBody, outcome: mfa.Unavailable, text: "no longer knows", told: 1,
			change: func(_ *fixture, c *council) {
				c.askErr = func(n int) error {
					if n < 3 {
						return nil
					}
					return &vault.StatusError{Status: 400}
				}
			},
		},
		"vault cannot be asked for a while": {
			approve: 20 * time.Second, want: "200 " + released, outcome: mfa.Approved, told: 1,
			change: func(_ *fixture, c *council) {
				c.askErr = func(n int) error {
					switch n {
					case 1:
						return &vault.StatusError{Status: 503}
					case 2:
						return errors.New("connection refused")
					}
					return nil
				}
			},
		},
		"approved, and yet not": {
			approve: 5 * time.Second, want: "200 " + released, outcome: mfa.Approved, told: 1,
			change: func(_ *fixture, c *council) { c.release = errUnapproved },
		},
		"the request itself fails when it is carried out": {
			approve: 5 * time.Second, want: `404 {"errors":[]}`, outcome: mfa.Approved, told: 1,
			change: func(_ *fixture, c *council) {
				c.release = func(int) (*http.Response, error) { return answer(404, `{"errors":[]}`), nil }
			},
		},
		"vault does not give it out": {
			approve: 5 * time.Second, want: "200 " + heldBody, outcome: mfa.Unavailable, text: "does not give out", told: 1,
			change: func(_ *fixture, c *council) {
				c.release = func(int) (*http.Response, error) { return answer(403, generic), nil }
			},
		},
		"somebody else was faster": {
			approve: 5 * time.Second, want: "200 " + heldBody, outcome: mfa.Unavailable, text: "fetched elsewhere", told: 1,
			change: func(_ *fixture, c *council) {
				c.release = func(int) (*http.Response, error) {
					return answer(400, `{"errors":["wrapping token is not valid or does not exist"]}`), nil
				}
			},
		},
		"not an answer of a control group": {body: `{"data":{"a":"b"},"wrap_info":null}`, want: `200 {"data":{"a":"b"},"wrap_info":null}`},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, c := hall(t)
		if tt.approve > 0 {
			c.approveAt = time.Now().Add(tt.approve)
		}
		if tt.change != nil {
			tt.change(s, c)
		}
		m := payroll(55 * time.Second)
		if strings.Contains(t.Name(), "/a_rule_that_asks_nobody") {
			m.Rule.Silent = true
		}
		body := heldBody
		if tt.body != "" {
			body = tt.body
		}
		resp, v := s.resolver.Await(t.Context(), m, "tok", answer(200, body))
		if got := bodyOf(t, resp); got != tt.want {
			t.Errorf("answer = %s, want %s", got, tt.want)
		}
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict = %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if tt.events != nil {
			if d := cmp.Diff(tt.events, s.audit.events); d != "" {
				t.Error(d)
			}
		}
		if got := len(s.person.messages()); got != tt.told {
			t.Errorf("told %d times, want %d: %q", got, tt.told, s.person.messages())
		}
		for _, h := range c.released {
			if h.Caller != "tok" || h.Wrapping != "hvs.WRAP" {
				t.Errorf("released with %q and %q", h.Caller.Reveal(), h.Wrapping.Reveal())
			}
		}
		s.broker.Close()
	})
}

// What the person reads says who may approve, how, and who has.
func TestControlGroupWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := hall(t)
		start := time.Now()
		c.by = func(now time.Time) []string {
			if now.Sub(start) < 5*time.Second {
				return nil
			}
			return []string{"Abby Jones", "\x1b[31mBob\n"}
		}
		s.resolver.Await(t.Context(), payroll(20*time.Second), "tok", answer(200, heldBody))
		const order = "push  1/3 vault wants the approval of other people: vault write sys/control-group/authorize accessor=acc-1; ask the payroll leads"
		want := []string{order, order + "; approved so far by Abby Jones, ?(31mBob"}
		if d := cmp.Diff(want, s.person.messages()); d != "" {
			t.Error(d)
		}
		s.broker.Close()
	})
}

// Vault is asked soon, then every ten seconds, and not after the time is over.
func TestControlGroupPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := hall(t)
		start := time.Now()
		s.resolver.Await(t.Context(), payroll(10*time.Minute), "tok", answer(200, heldBody))
		if n := len(c.asked); n < 60 || n > 70 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		for i := 1; i < len(c.asked); i++ {
			if gap := c.asked[i].Sub(c.asked[i-1]); gap < time.Second || gap > 10*time.Second {
				t.Errorf("gap %d is %s", i, gap)
			}
		}
		if took := time.Since(start); took != 10*time.Minute {
			t.Errorf("took %s", took)
		}
		s.broker.Close()
	})
}

// When the app leaves, nobody asks Vault any more, and nothing stays on a screen.
func TestControlGroupAppLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := hall(t)
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, leave)
		_, v := s.resolver.Await(ctx, payroll(time.Hour), "tok", answer(200, heldBody))
		n := len(c.asked)
		time.Sleep(time.Minute)
		if v.Outcome != mfa.Unavailable || len(c.asked) != n || s.broker.Len() != 0 {
			t.Errorf("verdict %+v, %d questions after it, %d prompts", v, len(c.asked)-n, s.broker.Len())
		}
		s.broker.Close()
	})
}
