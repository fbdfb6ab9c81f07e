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

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

var ldapRequest = rule.Request{Path: "auth/ldap/login/alice", Operation: rule.Update}

func duoSays(text string) *http.Response { return answer(400, `{"errors":["`+text+`"]}`) }

func TestLegacyLogin(t *testing.T) {
	t.Parallel()
	type test struct {
		answers []string
		says    []*http.Response
		sent    []string // bodies
		asked   []string
		outcome mfa.Outcome
		text    string
	}
	tests := map[string]test{
		"code": {
			[]string{"123456"},
			[]*http.Response{answer(200, issued)},
			[]string{`{"passcode":"123456","password":"p"}`},
			[]string{"passcode duo 1/3 type a code, or the word push to get a push on your phone"}, mfa.Approved, "",
		},
		"push": {
			[]string{"PUSH"},
			[]*http.Response{answer(200, issued)},
			[]string{`{"method":"push","password":"p"}`},
			[]string{"passcode duo 1/3 type a code, or the word push to get a push on your phone", "push duo 1/3 "}, mfa.Approved, "",
		},
		"wrong code, then a push that is refused": {
			[]string{"000000", "push"},
			[]*http.Response{duoSays("Incorrect passcode. Please try again."), duoSays("Login request denied.")},
			[]string{`{"passcode":"000000","password":"p"}`, `{"method":"push","password":"p"}`},
			[]string{
				"passcode duo 1/3 type a code, or the word push to get a push on your phone",
				"passcode duo 2/3 wrong code, or one that was used: type another one, or the word push to get a push on your phone", "push duo 1/3 ",
			}, mfa.Denied, "refused on the phone",
		},
		"the same code again": {
			[]string{"000000", "000000", "no"},
			[]*http.Response{duoSays("Incorrect passcode. Please try again.")},
			[]string{`{"passcode":"000000","password":"p"}`},
			[]string{
				"passcode duo 1/3 type a code, or the word push to get a push on your phone",
				"passcode duo 2/3 wrong code, or one that was used: type another one, or the word push to get a push on your phone",
				"passcode duo 3/3 that code was sent already: type another one, or the word push to get a push on your phone",
			}, mfa.Denied, "was denied",
		},
		"nobody answers":      {[]string{"never"}, []*http.Response{answer(200, issued)}, nil, nil, mfa.Timeout, "nobody answered the prompt"},
		"push that times out": {[]string{"push"}, []*http.Response{duoSays("Login timed out.")}, nil, nil, mfa.Timeout, "nobody answered it"},
		"locked out":          {[]string{"push"}, []*http.Response{duoSays("Your account has been locked out")}, nil, nil, mfa.Unavailable, "duo does not let you in"},
		"not enrolled": {
			[]string{"push"},
			[]*http.Response{duoSays("Enroll an authentication device to proceed (https://api-1.duosecurity.com/portal?code=1)")}, nil, nil,
			mfa.Unavailable, "enrol at https://api-1.duosecurity.com/portal?code=1, then",
		},
		"not enrolled, nowhere to": {
			[]string{"push"},
			[]*http.Response{duoSays(`Enroll an authentication device to proceed (https://duo/\u001b[2J)`)}, nil, nil,
			mfa.Unavailable, "ask whoever runs it how to",
		},
		"a code that is not the trouble": {[]string{"1"}, []*http.Response{duoSays("invalid username or password")}, nil, nil, "", ""},
	}
	run(t, tests, func(t *testing.T, tt test) {
		s, _ := newMountFixture(t, nil)
		s.person.codes(tt.answers...)
		v := &logins{delay: time.Second, answers: tt.says}
		_, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.LegacyMount), ldapRequest, v.send)
		if err != nil || verdict.Outcome != tt.outcome || !strings.Contains(verdict.Message, tt.text) {
			t.Errorf("%+v %v", verdict, err)
		}
		var sent []string
		for _, b := range v.sent {
			sent = append(sent, string(b.Bytes()))
		}
		if d := cmp.Diff(tt.sent, sent); tt.sent != nil && d != "" {
			t.Errorf("sent: %s", d)
		}
		if d := cmp.Diff(tt.asked, s.person.messages()); tt.asked != nil && d != "" {
			t.Errorf("asked: %s", d)
		}
	})
}

// A wrong password, which is refused at once, does not send anybody to their phone.
func TestLegacyPushIsToldWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		var told time.Time
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			if r.Kind != prompt.Push {
				return "push", nil
			}
			told = time.Now()
			<-ctx.Done()
			return "", ctx.Err()
		}
		v := &logins{delay: time.Minute, answers: []*http.Response{answer(200, issued)}}
		_, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.LegacyMount), ldapRequest, v.send)
		if err != nil || verdict.Outcome != mfa.Approved || told.Sub(v.at[0]) > time.Second {
			t.Errorf("%+v %v, told %s after it was sent", verdict, err, told.Sub(v.at[0]))
		}
	})
}

// Without anybody to ask, the login goes as it came; after a code was asked for, no
// more is sent.
func TestLegacyNobodyToAsk(t *testing.T) {
	t.Parallel()
	type test struct {
		answers []string
		sent    []string
		text    string
	}
	run(t, map[string]test{
		"at all":   {nil, []string{`{"password":"p"}`}, "vault decided by itself"},
		"any more": {[]string{"000000"}, []string{`{"passcode":"000000","password":"p"}`}, "there is no way to ask"},
	}, func(t *testing.T, tt test) {
		s, _ := newMountFixture(t, nil)
		answers := tt.answers
		s.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			if r.Kind == prompt.Push || len(answers) == 0 {
				return "", prompt.ErrUnavailable
			}
			next := answers[0]
			answers = answers[1:]
			return next, nil
		}
		v := &logins{delay: 5 * time.Second, answers: []*http.Response{duoSays("Incorrect passcode. Please try again.")}}
		resp, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.LegacyMount), ldapRequest, v.send)
		if err != nil || resp == nil || !verdict.NoPrompt || verdict.Outcome != mfa.Unavailable || !strings.Contains(verdict.Message, tt.text) {
			t.Errorf("%v %+v %v", resp, verdict, err)
		}
		var sent []string
		for _, b := range v.sent {
			sent = append(sent, string(b.Bytes()))
		}
		if d := cmp.Diff(tt.sent, sent); d != "" {
			t.Error(d)
		}
	})
}

// Clients repeat a 502 by themselves, and the person would be asked again.
func TestLegacyVaultIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMountFixture(t, nil)
		s.person.codes("123456")
		v := &logins{err: errors.New("connection reset"), answers: []*http.Response{nil}}
		_, verdict, err := s.resolver.BodyLogin(t.Context(), mountLogin(t, mfa.LegacyMount), ldapRequest, v.send)
		if err != nil || verdict.Outcome != mfa.Unavailable || !strings.Contains(verdict.Message, "connection reset") {
			t.Errorf("%+v %v", verdict, err)
		}
	})
}
