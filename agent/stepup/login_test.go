package stepup_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
)

var loginRequest = rule.Request{Namespace: "ns1", Path: "auth/userpass/login/alice", Operation: rule.Update}

func totp(id, name string) mfa.Method {
	return mfa.Method{ID: id, Name: name, Type: "totp", UsesPasscode: true}
}

func okta() mfa.Method { return mfa.Method{ID: "m3", Name: "phone", Type: "okta"} }

func constraints(all ...mfa.Constraint) mfa.Challenge {
	return mfa.Challenge{RequestID: "r", Constraints: all}
}

func anyOf(all ...mfa.Method) mfa.Challenge {
	return constraints(mfa.Constraint{Name: "a", Any: all})
}

// bothOf wants one method of each kind.
func bothOf(a, b mfa.Method) mfa.Challenge {
	return constraints(mfa.Constraint{Name: "a", Any: []mfa.Method{a}}, mfa.Constraint{Name: "b", Any: []mfa.Method{b}})
}

func TestLogin(t *testing.T) {
	one, push, mixed := anyOf(totp("m1", "totp")), anyOf(okta()), bothOf(totp("m1", "totp"), okta())
	two, choice := bothOf(totp("m1", "totp"), totp("m2", "")), anyOf(totp("m1", "totp"), okta(), totp("m4", "totp"))
	duo := func(usesPasscode bool) mfa.Challenge {
		return anyOf(mfa.Method{ID: "m5", Name: "corp_duo", Type: "duo", UsesPasscode: usesPasscode})
	}
	orPush := func(c *stepup.Config) {
		c.Methods["corp_duo"] = mfa.Method{Name: "corp_duo", Type: "duo", UsesPasscode: true, OrPush: true}
	}
	prefer := func(all ...string) func(c *stepup.Config) {
		return func(c *stepup.Config) { c.Prefer = all }
	}
	pushAnswer := func(status int, body string) serve { return after(10*time.Second, always(status, body)) }
	approved := func() *http.Response { return answer(200, "{}") }
	wrong := func() *http.Response { return answer(403, wrongText) }
	type test struct {
		challenge mfa.Challenge
		codes     []string
		validate  serve
		change    func(*stepup.Config)
		want      want
	}
	run(t, map[string]test{
		"right at once": {
			challenge: one, codes: []string{"111111"}, validate: inOrder(approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m1:[111111]"},
				asked: []string{"passcode totp 1/3 "}},
		},
		"wrong, then right, same request id": {
			challenge: one, codes: []string{"111111", "222222"}, validate: inOrder(wrong(), approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m1:[111111]", "m1:[222222]"},
				asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 " + wrongCode}},
		},
		"two enforcements, fresh codes for both": {
			challenge: two, codes: []string{"111111", "700001", "222222", "700002"}, validate: inOrder(wrong(), approved()),
			want: want{outcome: mfa.Approved, status: 200,
				validated: []string{"m1:[111111] m2:[700001]", "m1:[222222] m2:[700002]"}},
		},
		"attempts used up": {
			challenge: one, codes: []string{"111111", "222222", "333333"}, validate: inOrder(wrong(), wrong(), wrong()),
			want: want{outcome: mfa.Rejected, text: "did not accept", status: 403},
		},
		"rate limited, and for how long": {
			challenge: one, codes: []string{"111111", "222222"}, validate: inOrder(answer(403, limitedText), approved()),
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 too many wrong codes: wait 30 seconds, then use a new one"}},
		},
		"rate limited for longer than we may wait": {
			challenge: one, codes: []string{"111111"},
			validate: inOrder(answer(403, strings.Replace(limitedText, "30s", "10m0s", 1))),
			want:     want{outcome: mfa.Rejected, text: "try again in 600 seconds", status: 403},
		},
		"held login is gone": {
			challenge: one, codes: []string{"111111"},
			validate: always(400, unknownText),
			want:     want{outcome: mfa.Unavailable, text: "the active server changed meanwhile", status: 400, validated: slices.Repeat([]string{"m1:[111111]"}, 4)},
		},
		"another validate is in work": {
			challenge: one, codes: []string{"111111"}, validate: inOrder(answer(400, unknownText), answer(400, unknownText), approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: slices.Repeat([]string{"m1:[111111]"}, 3), asked: []string{"passcode totp 1/3 "}},
		},
		"no active server": {
			challenge: one, codes: []string{"111111"}, validate: always(500, noLeader),
			want: want{outcome: mfa.Unavailable, text: "the active vault server changes", status: 500, validated: []string{"m1:[111111]"}},
		},
		"a method that the challenge did not name": {
			challenge: one, codes: []string{"111111", "222222", "333333"},
			validate: always(403, `{"errors":["failed to satisfy enforcement e. error: failed to sanitize MFA creds, 1 error occurred:\n\t* failed to find MFA credentials associated with an MFA method ID 0e-1, method name ns1/hidden one\n\n"]}`),
			want:     want{outcome: mfa.Unavailable, text: "a factor of ns1/hidden one, too", status: 403, validated: []string{"m1:[111111]"}},
		},
		"the right code beside a wrong one is spent": {
			challenge: two, codes: []string{"111111", "222222", "333333", "444444"}, validate: inOrder(wrong(), approved()),
			want: want{outcome: mfa.Approved, status: 200, asked: []string{
				"passcode totp 1/3 ", "passcode m2 1/3 ",
				"passcode totp 2/3 " + wrongCode,
				"passcode m2 2/3 " + maybeSpent,
			}},
		},
		"a lock counts from the first wrong code": {
			challenge: one, codes: []string{"111111", "222222", "333333"},
			validate: func() serve {
				next := inOrder(wrong(), answer(403, strings.Replace(limitedText, "30s", "30.000000002s", 1)), approved())
				return func(ctx context.Context, line string) (*http.Response, error) {
					defer pass(5 * time.Second)
					return next(ctx, line)
				}
			}(),
			want: want{outcome: mfa.Approved, status: 200, asked: []string{
				"passcode totp 1/3 ", "passcode totp 2/3 " + wrongCode, "passcode totp 3/3 too many wrong codes: wait 26 seconds, then use a new one",
			}},
		},
		"not enrolled": {
			challenge: one, codes: []string{"111111"},
			validate: inOrder(answer(403, `{"errors":["MFA secret for method ID \"x\" not present in entity \"y\""]}`)),
			want:     want{outcome: mfa.Rejected, text: "no secret for this method", status: 403},
		},
		"something new is shown": {
			challenge: one, codes: []string{"111111", "no"},
			validate: inOrder(answer(403, `{"errors":["the moon\nis wrong"]}`)),
			want: want{outcome: mfa.Denied, text: "denied", status: 403,
				asked: []string{"passcode totp 1/3 ", "passcode totp 2/3 vault says: the moon is wrong"}},
		},
		"vault is sealed meanwhile": {
			challenge: one, codes: []string{"111111"}, validate: inOrder(answer(503, sealedText)),
			want: want{outcome: mfa.Unavailable, text: "status 503", status: 503},
		},
		"vault is gone": {
			challenge: one, codes: []string{"111111"}, validate: fails(errors.New("refused")),
			want: want{outcome: mfa.Unavailable, text: "could not be reached"},
		},
		"push approved": {
			challenge: push, validate: pushAnswer(200, "{}"),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m3:[]"},
				asked: []string{"push phone 1/3 "}},
		},
		"push refused": {
			challenge: push, validate: pushAnswer(403, `{"errors":["push verification explicitly rejected"]}`),
			want: want{outcome: mfa.Denied, text: "refused on the phone", status: 403},
		},
		"push missed": {
			challenge: push, validate: pushAnswer(403, `{"errors":["push verification timed out"]}`),
			want: want{outcome: mfa.Timeout, text: "nobody answered it", status: 403},
		},
		"the provider is down": {
			challenge: push,
			validate:  pushAnswer(403, `{"errors":["Get \"https://corp.okta.com/\": dial tcp: lookup corp.okta.com: no such host"]}`),
			want: want{outcome: mfa.Unavailable,
				text:   "cannot use the service behind the second factor: Get \"https://corp.okta.com/\": dial tcp",
				status: 403},
		},
		"push refused in words of the provider": {
			challenge: push, validate: pushAnswer(403, `{"errors":["Authentication rejected by user"]}`),
			want: want{outcome: mfa.Denied, status: 403},
		},
		"duo, a bare code": {
			challenge: duo(true), codes: []string{"1234567"}, validate: inOrder(approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m5:[1234567]"},
				asked: []string{"passcode corp_duo 1/3 "}},
		},
		"duo, a wrong code": {
			challenge: duo(true), codes: []string{"1", "2"},
			validate: inOrder(answer(403, refusedText(`duo authentication failed: \"Incorrect passcode. Please try again.\"`)), approved()),
			want: want{outcome: mfa.Approved, status: 200,
				asked: []string{"passcode corp_duo 1/3 ", "passcode corp_duo 2/3 " + wrongCode}},
		},
		"duo, another no to a code": {
			challenge: duo(true), codes: []string{"1", "no"},
			validate: inOrder(answer(403, refusedText(`duo authentication failed: \"Your account is disabled.\"`))),
			want: want{outcome: mfa.Denied, status: 403,
				asked: []string{"passcode corp_duo 1/3 ", "passcode corp_duo 2/3 vault says: duo authentication failed: 'Your account is disabled.'"}},
		},
		"duo takes either, a code": {
			challenge: duo(false), change: orPush, codes: []string{"1234567"}, validate: inOrder(approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m5:[1234567]"}},
		},
		"duo takes either, the push": {
			challenge: duo(true), change: orPush, codes: []string{"push"}, validate: pushAnswer(200, "{}"),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m5:[]"}},
		},
		"duo takes either, the push is refused": {
			challenge: duo(true), change: orPush, codes: []string{"push"},
			validate: pushAnswer(403, refusedText(`duo authentication failed: \"Login request denied.\"`)),
			want:     want{outcome: mfa.Denied, status: 403},
		},
		"duo takes either, refused in new words": {
			challenge: duo(true), change: orPush, codes: []string{"push"}, validate: pushAnswer(403, refusedText("no")),
			want: want{outcome: mfa.Denied, status: 403, validated: []string{"m5:[]"}},
		},
		"duo takes either, but the block is okta's": {
			challenge: anyOf(mfa.Method{ID: "m5", Name: "corp_duo", Type: "okta"}), change: orPush,
			validate: pushAnswer(200, "{}"),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m5:[]"},
				asked: []string{"push corp_duo 1/3 "}},
		},
		"there is no phone for the push": {
			challenge: push, validate: pushAnswer(403, refusedText("no push-type MFA factor found for user")),
			want: want{outcome: mfa.Rejected, text: "knows no phone of yours", status: 403},
		},
		"a gateway ends the push": {
			challenge: push, validate: pushAnswer(504, "<html>"),
			want: want{outcome: mfa.Timeout, text: "load balancer", status: 504},
		},
		"a limit on codes is nothing for a push": {
			challenge: push, validate: pushAnswer(403, limitedText),
			want: want{outcome: mfa.Denied, status: 403, validated: []string{"m3:[]"}},
		},
		"a code that a later factor used up is not sent again": {
			challenge: two, codes: []string{"111111", "700001", "111111", "222222", "700002"},
			validate: inOrder(wrong(), approved()),
			want: want{outcome: mfa.Approved, status: 200,
				validated: []string{"m1:[111111] m2:[700001]", "m1:[222222] m2:[700002]"},
				asked: []string{
					"passcode totp 1/3 ", "passcode m2 1/3 ",
					"passcode totp 2/3 " + wrongCode, "passcode totp 2/3 that code was sent already: wait for the next one",
					"passcode m2 2/3 " + maybeSpent,
				}},
		},
		"a code and a push": {
			challenge: mixed, codes: []string{"111111"}, validate: pushAnswer(200, "{}"),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m1:[111111] m3:[]"},
				asked: []string{"passcode totp 1/3 ", "push phone 1/3 "}},
		},
		"a code and a push, refused": {
			challenge: mixed, codes: []string{"111111"},
			validate: pushAnswer(403, refusedText("push verification explicitly rejected")),
			want:     want{outcome: mfa.Denied, status: 403, validated: []string{"m1:[111111] m3:[]"}},
		},
		"the person chooses": {
			challenge: choice, codes: []string{"phone (okta)"}, validate: pushAnswer(200, "{}"),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m3:[]"}},
		},
		"two of a name": {
			challenge: choice, codes: []string{"totp m4", "222222"}, validate: inOrder(approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m4:[222222]"}},
		},
		"preferred by name": {
			challenge: choice, change: prefer("other", "phone"), validate: pushAnswer(200, "{}"),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m3:[]"}},
		},
		"preferred by id": {
			challenge: choice, change: prefer("m4"), codes: []string{"222222"}, validate: inOrder(approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m4:[222222]"}},
		},
		"denied":               {challenge: one, codes: []string{"no"}, want: want{outcome: mfa.Denied, text: "denied"}},
		"denied at the choice": {challenge: choice, codes: []string{"no"}, want: want{outcome: mfa.Denied, text: "denied"}},
		"no answer":            {challenge: one, codes: []string{"never"}, want: want{outcome: mfa.Timeout, text: "nobody answered"}},
		"6 or 8 digits where none are declared": {
			challenge: two, codes: []string{"111111", "12", "abcdef", "70000008"}, validate: inOrder(approved()),
			want: want{outcome: mfa.Approved, status: 200, validated: []string{"m1:[111111] m2:[70000008]"},
				asked: []string{
					"passcode totp 1/3 ", "passcode m2 1/3 ",
					"passcode m2 1/3 a code of this method has 6 or 8 digits", "passcode m2 1/3 a code of this method has 6 or 8 digits",
				}},
		},
		"declared digits count": {challenge: one, codes: []string{"12345678", "no"}, want: want{outcome: mfa.Denied, asked: []string{"passcode totp 1/3 ", "passcode totp 1/3 a code of this method has 6 digits"}}},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, tt.change)
		f.person.codes(tt.codes...)
		f.vault.validate = tt.validate
		tt.want.status = cmp.Or(tt.want.status, none)
		f.login(t.Context(), tt.challenge).check(t, tt.want)
	})
}

func TestLoginPromptSaysWhatItIsFor(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("no")
		f.login(t.Context(), anyOf(totp("m1", "totp")))
		r := f.person.asked[0]
		if r.Vault != "corp" || r.Namespace != "ns1" || r.Path != loginRequest.Path || r.Operation != "update" || r.Rule != "" || r.Digits != 6 {
			t.Errorf("asked %+v", r)
		}
		equal(t, "time left", 55*time.Second, time.Until(r.Deadline))
	})
}

// stepup lock cancels what is open; for the app that is a denial.
func TestLockCancels(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.person.codes("never", "never")
		time.AfterFunc(time.Second, f.broker.CancelAll)
		f.login(t.Context(), anyOf(totp("m1", "totp"))).check(t, want{outcome: mfa.Denied, text: "stepup lock"})
		equal(t, "end of the audit log", audit.Denied, f.audit.last.Event)
		// It is no pause: the next login is asked about at once.
		time.AfterFunc(time.Second, f.broker.CancelAll)
		f.login(t.Context(), anyOf(totp("m1", "totp"))).check(t, want{outcome: mfa.Denied, text: "stepup lock"})
		equal(t, "questions", 2, len(f.person.asked))
	})
}
