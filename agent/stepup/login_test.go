package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	wrongText   = `{"errors":["failed to satisfy enforcement a. error: 2 errors occurred:\n\t* failed to validate TOTP passcode\n\t* login MFA validation failed for methodID: [m1]\n\n"]}`
	limitedText = `{"errors":["failed to satisfy enforcement a. error: 2 errors occurred:\n\t* maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30s seconds\n\t* …"]}`
)

var loginRequest = rule.Request{Namespace: "ns1", Path: "auth/userpass/login/alice", Operation: rule.Update}

func totp(id, name string) mfa.Method {
	return mfa.Method{ID: id, Name: name, Type: "totp", UsesPasscode: true}
}

func constraints(all ...mfa.Constraint) mfa.Challenge {
	return mfa.Challenge{RequestID: "r", Constraints: all}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	one := constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp")}})
	two := constraints(
		mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp")}},
		mfa.Constraint{Name: "b", Any: []mfa.Method{totp("m2", "")}},
	)
	choice := constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp"), {ID: "m3", Name: "phone", Type: "okta"}, totp("m4", "totp")}})
	push := constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{{ID: "m3", Name: "phone", Type: "okta"}}})
	mixed := constraints(
		mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp")}},
		mfa.Constraint{Name: "b", Any: []mfa.Method{{ID: "m3", Name: "phone", Type: "okta"}}},
	)
	duo := func(usesPasscode bool) mfa.Challenge {
		return anyOf(mfa.Method{ID: "m5", Name: "corp_duo", Type: "duo", UsesPasscode: usesPasscode})
	}
	orPush := func(c *stepup.Config) {
		c.Methods["corp_duo"] = mfa.Method{Name: "corp_duo", Type: "duo", UsesPasscode: true, OrPush: true}
	}
	pushAnswer := func(status int, body string) func(context.Context, map[string][]string) (*http.Response, error) {
		return func(context.Context, map[string][]string) (*http.Response, error) {
			time.Sleep(10 * time.Second)
			return answer(status, body), nil
		}
	}
	// answers gives one answer after the other; more calls are an error.
	answers := func(all ...*http.Response) func(context.Context, map[string][]string) (*http.Response, error) {
		return func(context.Context, map[string][]string) (*http.Response, error) {
			if len(all) == 0 {
				return nil, errors.New("validated too often")
			}
			next := all[0]
			all = all[1:]
			return next, nil
		}
	}
	type test struct {
		challenge mfa.Challenge
		codes     []string
		validate  func(context.Context, map[string][]string) (*http.Response, error)
		outcome   mfa.Outcome
		text      string
		payloads  []map[string][]string
		asked     []string
		status    int // of the answer that is handed on; 0 means none
		prefer    []string
		change    func(*stepup.Config)
	}
	tests := map[string]test{
		"right at once": {
			challenge: one, codes: []string{"111111"}, validate: answers(answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m1": {"111111"}}}, asked: []string{"passcode totp 1/3 "},
		},
		"wrong, then right, same request id": {
			challenge: one, codes: []string{"111111", "222222"}, validate: answers(answer(403, wrongText), answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m1": {"111111"}}, {"m1": {"222222"}}},
			asked:    []string{"passcode totp 1/3 ", "passcode totp 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"two enforcements, fresh codes for both": {
			challenge: two, codes: []string{"111111", "x1", "222222", "x2"}, validate: answers(answer(403, wrongText), answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m1": {"111111"}, "m2": {"x1"}}, {"m1": {"222222"}, "m2": {"x2"}}},
		},
		"attempts used up": {
			challenge: one, codes: []string{"111111", "222222", "333333"}, validate: answers(answer(403, wrongText), answer(403, wrongText), answer(403, wrongText)),
			outcome: mfa.Rejected, text: "did not accept", status: 403,
		},
		"rate limited, told how long": {
			challenge: one, codes: []string{"111111", "222222"}, validate: answers(answer(403, limitedText), answer(200, "{}")), outcome: mfa.Approved, status: 200,
			asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 too many wrong codes: wait 30 seconds, then use a new one"},
		},
		"rate limited for longer than we may wait": {
			challenge: one, codes: []string{"111111"}, validate: answers(answer(403, strings.Replace(limitedText, "30s", "10m0s", 1))),
			outcome: mfa.Rejected, text: "try again in 600 seconds", status: 403,
		},
		"held login is gone": {
			challenge: one, codes: []string{"111111"}, validate: answers(answer(400, `{"errors":["invalid request ID"]}`)),
			outcome: mfa.Unavailable, text: "log in again", status: 400,
		},
		"not enrolled": {
			challenge: one, codes: []string{"111111"}, validate: answers(answer(403, `{"errors":["MFA secret for method ID \"x\" not present in entity \"y\""]}`)),
			outcome: mfa.Rejected, text: "no secret for this method", status: 403,
		},
		"something new is shown": {
			challenge: one, codes: []string{"111111", "no"}, validate: answers(answer(403, `{"errors":["the moon\nis wrong"]}`)),
			outcome: mfa.Denied, text: "denied", status: 403, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 vault says: the moon is wrong"},
		},
		"vault is sealed meanwhile": {
			challenge: one, codes: []string{"111111"}, validate: answers(answer(503, `{"errors":["Vault is sealed"]}`)),
			outcome: mfa.Unavailable, text: "status 503", status: 503,
		},
		"vault is gone": {
			challenge: one, codes: []string{"111111"}, validate: func(context.Context, map[string][]string) (*http.Response, error) { return nil, errors.New("refused") },
			outcome: mfa.Unavailable, text: "could not be reached",
		},
		"push approved": {
			challenge: push, validate: pushAnswer(200, "{}"), outcome: mfa.Approved, status: 200, payloads: []map[string][]string{{"m3": {""}}},
			asked: []string{"push phone 1/3 "},
		},
		"push refused": {
			challenge: push, validate: pushAnswer(403, `{"errors":["push verification explicitly rejected"]}`), outcome: mfa.Denied, text: "refused on the phone", status: 403,
		},
		"push missed": {
			challenge: push, validate: pushAnswer(403, `{"errors":["push verification timed out"]}`), outcome: mfa.Timeout, text: "nobody answered it", status: 403,
		},
		"the provider is down": {
			challenge: push, validate: pushAnswer(403, `{"errors":["Get \"https://corp.okta.com/\": dial tcp: lookup corp.okta.com: no such host"]}`),
			outcome: mfa.Unavailable, text: "cannot use the service behind the second factor: Get \"https://corp.okta.com/\": dial tcp", status: 403,
		},
		"push refused in words of the provider": {
			challenge: push, validate: pushAnswer(403, `{"errors":["Authentication rejected by user"]}`), outcome: mfa.Denied, status: 403,
		},
		"duo, a bare code": {
			challenge: duo(true), codes: []string{"1234567"}, validate: answers(answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m5": {"1234567"}}}, asked: []string{"passcode corp_duo 1/3 "},
		},
		"duo, a wrong code": {
			challenge: duo(true), codes: []string{"1", "2"}, validate: answers(answer(403, refusedText(`duo authentication failed: \"Incorrect passcode. Please try again.\"`)), answer(200, "{}")), outcome: mfa.Approved, status: 200,
			asked: []string{"passcode corp_duo 1/3 ", "passcode corp_duo 2/3 wrong code, or one that was used: wait for the next one"},
		},
		"duo, another no to a code": {
			challenge: duo(true), codes: []string{"1", "no"}, validate: answers(answer(403, refusedText(`duo authentication failed: \"Your account is disabled.\"`))), outcome: mfa.Denied, status: 403,
			asked: []string{"passcode corp_duo 1/3 ", "passcode corp_duo 2/3 vault says: duo authentication failed: 'Your account is disabled.'"},
		},
		"duo takes either, a code": {
			challenge: duo(false), change: orPush, codes: []string{"1234567"}, validate: answers(answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m5": {"1234567"}}},
		},
		"duo takes either, the push": {
			challenge: duo(true), change: orPush, codes: []string{"push"}, validate: pushAnswer(200, "{}"), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m5": {""}}},
		},
		"duo takes either, the push is refused": {
			challenge: duo(true), change: orPush, codes: []string{"push"}, validate: pushAnswer(403, refusedText(`duo authentication failed: \"Login request denied.\"`)), outcome: mfa.Denied, status: 403,
		},
		"duo takes either, refused in new words": {
			challenge: duo(true), change: orPush, codes: []string{"push"}, validate: pushAnswer(403, refusedText("no")), outcome: mfa.Denied, status: 403,
			payloads: []map[string][]string{{"m5": {""}}},
		},
		"duo takes either, but the block is okta's": {
			challenge: anyOf(mfa.Method{ID: "m5", Name: "corp_duo", Type: "okta"}), change: orPush, validate: pushAnswer(200, "{}"), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m5": {""}}}, asked: []string{"push corp_duo 1/3 "},
		},
		"there is no phone for the push": {
			challenge: push, validate: pushAnswer(403, refusedText("no push-type MFA factor found for user")), outcome: mfa.Rejected, text: "knows no phone of yours", status: 403,
		},
		"a gateway ends the push": {
			challenge: push, validate: pushAnswer(504, "<html>"), outcome: mfa.Timeout, text: "load balancer", status: 504,
		},
		"a limit on codes is nothing for a push": {
			challenge: push, validate: pushAnswer(403, limitedText), outcome: mfa.Denied, status: 403, payloads: []map[string][]string{{"m3": {""}}},
		},
		"a code that a later factor burnt is not sent again": {
			challenge: two, codes: []string{"111111", "x1", "111111", "x2", "222222", "x3"}, validate: answers(answer(403, wrongText), answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m1": {"111111"}, "m2": {"x1"}}, {"m1": {"222222"}, "m2": {"x3"}}},
			asked: []string{
				"passcode totp 1/3 ", "passcode m2 1/3 ",
				"passcode totp 2/3 wrong code, or one that was used: wait for the next one", "passcode m2 2/3 wrong code, or one that was used: wait for the next one",
				"passcode totp 3/3 that code was sent already: wait for the next one", "passcode m2 3/3 that code was sent already: wait for the next one",
			},
		},
		"a code and a push": {
			challenge: mixed, codes: []string{"111111"}, validate: pushAnswer(200, "{}"), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m1": {"111111"}, "m3": {""}}}, asked: []string{"passcode totp 1/3 ", "push phone 1/3 "},
		},
		"a code and a push, refused": {
			challenge: mixed, codes: []string{"111111"}, validate: pushAnswer(403, refusedText("push verification explicitly rejected")), outcome: mfa.Denied, status: 403,
			payloads: []map[string][]string{{"m1": {"111111"}, "m3": {""}}},
		},
		"the person chooses": {
			challenge: choice, codes: []string{"phone (okta)"}, validate: pushAnswer(200, "{}"), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m3": {""}}},
		},
		"two of a name": {
			challenge: choice, codes: []string{"totp m4", "222222"}, validate: answers(answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m4": {"222222"}}},
		},
		"preferred by name": {
			challenge: choice, prefer: []string{"other", "phone"}, validate: pushAnswer(200, "{}"), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m3": {""}}},
		},
		"preferred by id": {
			challenge: choice, prefer: []string{"m4"}, codes: []string{"222222"}, validate: answers(answer(200, "{}")), outcome: mfa.Approved, status: 200,
			payloads: []map[string][]string{{"m4": {"222222"}}},
		},
		"denied":                {challenge: one, codes: []string{"no"}, outcome: mfa.Denied, text: "denied"},
		"denied at the choice":  {challenge: choice, codes: []string{"no"}, outcome: mfa.Denied, text: "denied"},
		"nobody answers":        {challenge: one, codes: []string{"never"}, outcome: mfa.Timeout, text: "nobody answered"},
		"declared digits count": {challenge: one, codes: []string{"12345678", "no"}, outcome: mfa.Denied, asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 a code of this method has 6 digits"}},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s := newFixture(t, func(c *stepup.Config) {
			if c.Prefer = tt.prefer; tt.change != nil {
				tt.change(c)
			}
		})
		s.person.codes(tt.codes...)
		s.vault.validate = tt.validate
		resp, v := s.resolver.Login(t.Context(), tt.challenge, loginRequest)
		if v.Outcome != tt.outcome || !strings.Contains(v.Message, tt.text) {
			t.Errorf("verdict %+v, want %s %q", v, tt.outcome, tt.text)
		}
		if resp == nil && tt.status != 0 || resp != nil && resp.StatusCode != tt.status {
			t.Errorf("answer %+v, want %d", resp, tt.status)
		}
		if d := cmp.Diff(tt.payloads, s.vault.validated); tt.payloads != nil && d != "" {
			t.Errorf("validated: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
	})
}

func TestLoginPromptSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("no")
		s.resolver.Login(t.Context(), constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp")}}), loginRequest)
		r := s.person.asked[0]
		if r.Vault != "corp" || r.Namespace != "ns1" || r.Path != loginRequest.Path || r.Operation != "update" || r.Rule != "" || r.Digits != 6 {
			t.Errorf("asked %+v", r)
		}
		if left := time.Until(r.Deadline); left != 55*time.Second {
			t.Errorf("%s left", left)
		}
	})
}

// A no cools logins on the same path down, and no others.
func TestLoginCooldown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		one := constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp")}})
		other := loginRequest
		other.Path = "auth/userpass/login/bob"
		for i, want := range []struct {
			request rule.Request
			outcome mfa.Outcome
		}{{loginRequest, mfa.Denied}, {loginRequest, mfa.Cooldown}, {other, mfa.Denied}} {
			s.person.codes("no")
			if _, v := s.resolver.Login(t.Context(), one, want.request); v.Outcome != want.outcome {
				t.Errorf("login %d: %+v, want %s", i, v, want.outcome)
			}
		}
	})
}

// stepup lock cancels what is open; for the app that is a denial.
func TestLockCancels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, nil)
		s.person.codes("never")
		done := make(chan mfa.Verdict)
		go func() {
			_, v := s.resolver.Login(t.Context(), constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{totp("m1", "totp")}}), loginRequest)
			done <- v
		}()
		synctest.Wait()
		s.broker.CancelAll()
		if v := <-done; v.Outcome != mfa.Denied || !strings.Contains(v.Message, "stepup lock") {
			t.Errorf("%+v", v)
		}
		if last := s.audit.events[len(s.audit.events)-1]; last != audit.Denied {
			t.Errorf("audit ends with %s", last)
		}
	})
}

var _ prompt.Prompter = (*person)(nil)
