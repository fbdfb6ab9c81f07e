package stepup_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// loginsAt are logins in whose body the factor is.
var loginsAt = map[mfa.MountKind]rule.Request{
	mfa.OktaMount:   {Namespace: "ns1", Path: "auth/okta/login/alice", Operation: rule.Update},
	mfa.LegacyMount: {Path: "auth/ldap/login/alice", Operation: rule.Update},
}

// bodyLogin logs in with a password in the body, at a mount of that kind.
func (f *fixture) bodyLogin(ctx context.Context, kind mfa.MountKind) result {
	body, err := mfa.ReadLoginBody("", []byte(`{"password":"p"}`))
	if err != nil {
		return result{f: f, err: err}
	}
	login := mfa.MountLogin{Kind: kind, Mount: "auth/okta", Body: body, Node: func() string { return "http://node" }}
	return f.of(f.resolver.BodyLogin(ctx, login, loginsAt[kind], f.up.sendBody))
}

// renew renews a token, or the one of an accessor.
func (f *fixture) renew(ctx context.Context, subject secret.Secret, path string) result {
	return f.of(f.resolver.Renew(ctx, subject, rule.Request{Path: "auth/token/" + path, Operation: rule.Update}, f.up.renew))
}

// pushes are the numbers and messages of the notices so far.
func (p *person) pushes() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		if r.Kind == prompt.Push {
			all = append(all, strings.TrimSpace(r.Number+" "+r.Message))
		}
	}
	return all
}

func TestOktaNumber(t *testing.T) {
	ms := func(all ...int) (d []time.Duration) {
		for _, n := range all {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	type test struct {
		known, answered time.Duration
		looks           []time.Duration
		notices         []string
		outcome         mfa.Outcome
	}
	run(t, map[string]test{
		"known at once":     {0, 10 * time.Second, ms(500), []string{"42 tap 42 in Okta Verify"}, mfa.Approved},
		"known later":       {3 * time.Second, 10 * time.Second, ms(500, 1500, 2500, 3500), []string{"", "42 tap 42 in Okta Verify"}, mfa.Approved},
		"never a number":    {time.Hour, 3 * time.Second, ms(500, 1500, 2500), []string{""}, mfa.Approved},
		"no push was asked": {time.Hour, 400 * time.Millisecond, nil, nil, ""},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.from, f.vault.numberErr = tt.known, errors.New("busy")
		f.up.serve = after(tt.answered, always(200, issued))
		f.bodyLogin(t.Context(), mfa.OktaMount).check(t, want{outcome: tt.outcome, status: 200})
		equal(t, "looks", tt.looks, f.vault.looks)
		equal(t, "notices", tt.notices, f.person.pushes())
		nonce := f.up.bodies[0].Text("nonce")
		asked := vault.NumberRequest{Mount: "auth/okta", Nonce: nonce, Namespace: "ns1", Node: "http://node"}
		if len(nonce) != 20 || tt.looks != nil && f.vault.numberOf != asked {
			t.Errorf("nonce %q, asked %+v", nonce, f.vault.numberOf)
		}
		equal(t, "open notices", 0, f.broker.Len())
	})
}

func TestNoncesDiffer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.serve = always(200, issued)
		seen := make(map[string]bool)
		for i := range 20 {
			f.bodyLogin(t.Context(), mfa.OktaMount)
			seen[f.up.bodies[i].Text("nonce")] = true
		}
		equal(t, "nonces", 20, len(seen))
	})
}

// A denial here drops the login at Vault. The next one is not sent, because sending is what
// pushes.
func TestOktaDeniedHere(t *testing.T) {
	run(t, map[string]time.Duration{
		"before the number": time.Second, "with the number": 5 * time.Second,
	}, func(t *testing.T, when time.Duration) {
		f := newFixture(t, nil)
		f.vault.from = 2 * time.Second
		start := time.Now()
		f.person.answer = func(ctx context.Context, _ prompt.Request) (string, error) {
			if err := wait(ctx, when-time.Since(start)); err != nil {
				return "", err
			}
			return "", prompt.ErrDenied
		}
		f.up.serve = after(time.Hour, nil)
		f.bodyLogin(t.Context(), mfa.OktaMount).check(t, want{outcome: mfa.Denied, status: none})
		f.bodyLogin(t.Context(), mfa.OktaMount).check(t, want{outcome: mfa.Cooldown})
		equal(t, "sent", 1, len(f.up.sent))
		if got := f.audit.events; got[0] != audit.Challenge || got[len(got)-1] != audit.Denied || slices.Contains(got[1:], audit.Challenge) {
			t.Errorf("audit %v", got)
		}
	})
}

func TestOktaEnds(t *testing.T) {
	gone := errors.New("connection reset")
	type test struct {
		delay   time.Duration
		status  int
		body    string
		err     error // of sending
		outcome mfa.Outcome
		text    string
	}
	run(t, map[string]test{
		"refused on the phone":     {5 * time.Second, 400, oktaDenied, nil, mfa.Denied, "refused on the phone"},
		"refused at once":          {0, 400, oktaDenied, nil, mfa.Denied, "refused on the phone"},
		"no answer":                {90 * time.Second, 400, `{"errors":["failed to complete multi-factor authentication"]}`, nil, mfa.Timeout, "nobody answered it"},
		"vault gave up":            {90 * time.Second, 400, `{"errors":["exiting pending mfa challenge"]}`, nil, mfa.Timeout, "nobody answered it"},
		"okta is down":             {5 * time.Second, 400, `{"errors":["Okta auth failed: Post: dial tcp: no such host"]}`, nil, mfa.Unavailable, "break-glass"},
		"wrong password":           {5 * time.Second, 400, `{"errors":["okta authentication failed"]}`, nil, "", ""},
		"a load balancer gives up": {60 * time.Second, 504, "<html>", nil, mfa.Timeout, "idle timeout"},
		"sealed":                   {0, 503, sealedText, nil, "", ""},
		"sealed during the push":   {time.Second, 503, sealedText, nil, mfa.Unavailable, "(status 503)"},
		"gone at once":             {time.Second, none, "", gone, mfa.Unavailable, "connection reset"},
		"gone during the push":     {5 * time.Second, none, "", gone, mfa.Timeout, "idle timeout"},
		"not there":                {0, none, "", gone, "", ""},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.from = time.Hour
		f.up.serve = after(tt.delay, always(tt.status, tt.body))
		w := want{outcome: tt.outcome, text: tt.text, status: tt.status, body: tt.body}
		if tt.err != nil {
			f.up.serve = after(tt.delay, fails(tt.err))
		}
		if tt.err != nil && tt.outcome == "" {
			w.err = tt.err
		}
		f.bodyLogin(t.Context(), mfa.OktaMount).check(t, w)
	})
}

func TestOktaAppLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, leave)
		f.up.serve = after(time.Hour, nil)
		f.bodyLogin(ctx, mfa.OktaMount).check(t, want{err: context.Canceled, status: none})
		equal(t, "open notices", 0, f.broker.Len())
		equal(t, "a denial is audited", false, slices.Contains(f.audit.events, audit.Denied))
	})
}

// Logins on one path wait for each other, and share a denial.
func TestOktaOneAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.serve = after(10*time.Second, always(400, oktaDenied))
		together(5, func(int) { f.bodyLogin(t.Context(), mfa.OktaMount).check(t, want{outcome: mfa.Denied}) })
		equal(t, "pushes", 1, len(f.up.sent))
	})
}

// A program that is never prompted for logs in as if we were not there. On a path that was
// denied too often nothing is pushed any more.
func TestBodyLoginMuted(t *testing.T) {
	run(t, map[string]mfa.MountKind{"okta": mfa.OktaMount, "legacy": mfa.LegacyMount}, func(t *testing.T, kind mfa.MountKind) {
		never := true
		f := newFixture(t, func(c *stepup.Config) {
			c.NeverPrompt = factor.NeverPrompt{Match: func(peer.Peer) bool { return never }}
		})
		f.person.codes("no", "no", "no")
		f.up.serve = after(5*time.Second, always(400, oktaDenied))
		f.bodyLogin(identified(t), kind).check(t, want{status: 400, sent: []string{`{"password":"p"}`}, asked: nothing})
		equal(t, "looks", 0, len(f.vault.looks))
		never = false
		for range 3 {
			f.bodyLogin(identified(t), kind).check(t, want{outcome: mfa.Denied})
			time.Sleep(time.Minute)
		}
		f.bodyLogin(identified(t), kind).check(t, want{outcome: mfa.Cooldown, text: "three times", sent: f.up.lines()})
	})
}

// With confirm_push nothing that may push is sent before the person said yes, nor where no
// prompt can be shown.
func TestBodyLoginConfirmPush(t *testing.T) {
	type test struct {
		kind    mfa.MountKind // 0 is a renewal
		answer  string
		never   bool
		outcome mfa.Outcome
		sent    int
	}
	run(t, map[string]test{
		"okta, yes":       {mfa.OktaMount, "yes", false, mfa.Approved, 1},
		"okta, no":        {mfa.OktaMount, "no", false, mfa.Denied, 0},
		"okta, no prompt": {mfa.OktaMount, "unavailable", false, mfa.Unavailable, 0},
		"okta, never":     {mfa.OktaMount, "unavailable", true, mfa.Unavailable, 0},
		"duo, push":       {mfa.LegacyMount, "push", false, mfa.Approved, 1},
		"duo, no prompt":  {mfa.LegacyMount, "unavailable", false, mfa.Unavailable, 0},
		"renewal, yes":    {0, "yes", false, mfa.Approved, 1},
		"renewal, no":     {0, "no", false, mfa.Denied, 0},
		"renewal never":   {0, "unavailable", true, mfa.Unavailable, 0},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, func(c *stepup.Config) {
			c.ConfirmPush = true
			c.NeverPrompt = factor.NeverPrompt{Match: func(peer.Peer) bool { return tt.never }}
		})
		f.person.codes(tt.answer)
		f.up.serve = after(5*time.Second, always(200, issued))
		f.vault.path = "auth/okta/login/alice"
		r := result{}
		if tt.kind == 0 {
			r = f.renew(identified(t), "hvs.okta", "renew-self")
		} else {
			r = f.bodyLogin(identified(t), tt.kind)
		}
		if r.err != nil || r.v.Outcome != tt.outcome || len(f.up.sent) != tt.sent {
			t.Errorf("%+v %v after %q", r.v, r.err, f.up.sent)
		}
	})
}

const anotherOrPush = "wrong code, or one that was used: type another one, or the word push to get a push on your phone"

func duoSays(text string) serve { return after(time.Second, always(400, `{"errors":["`+text+`"]}`)) }

func TestLegacyLogin(t *testing.T) {
	const (
		askedFirst = "passcode duo 1/3 " + codeOrPush
		askedAgain = "passcode duo 2/3 " + anotherOrPush
		withPush   = `{"method":"push","password":"p"}`
		withZeros  = `{"passcode":"000000","password":"p"}`
		incorrect  = "Incorrect passcode. Please try again."
	)
	issues := after(time.Second, always(200, issued))
	type test struct {
		answers []string
		says    serve
		want    want
	}
	run(t, map[string]test{
		"code": {
			[]string{"123456"}, issues,
			want{outcome: mfa.Approved, sent: []string{`{"passcode":"123456","password":"p"}`}, asked: []string{askedFirst}},
		},
		"push": {
			[]string{"PUSH"}, issues,
			want{outcome: mfa.Approved, sent: []string{withPush}, asked: []string{askedFirst, "push duo 1/3 "}},
		},
		"wrong code, then a push that is refused": {
			[]string{"000000", "push"},
			func(ctx context.Context, line string) (*http.Response, error) {
				if line == withPush {
					return duoSays("Login request denied.")(ctx, line)
				}
				return duoSays(incorrect)(ctx, line)
			},
			want{
				outcome: mfa.Denied, text: "refused on the phone", sent: []string{withZeros, withPush},
				asked: []string{askedFirst, askedAgain, "push duo 1/3 "},
			},
		},
		"the same code again": {
			[]string{"000000", "000000", "no"}, duoSays(incorrect),
			want{outcome: mfa.Denied, text: "was denied", sent: []string{withZeros}, asked: []string{
				askedFirst, askedAgain,
				"passcode duo 2/3 that code was sent already: type another one, or the word push to get a push on your phone",
			}},
		},
		"no answer":           {[]string{"never"}, issues, want{outcome: mfa.Timeout, text: "nobody answered the question"}},
		"push that times out": {[]string{"push"}, duoSays("Login timed out."), want{outcome: mfa.Timeout, text: "nobody answered it"}},
		"locked out": {
			[]string{"push"}, duoSays("Your account has been locked out"), want{outcome: mfa.Unavailable, text: "duo does not let you in"},
		},
		"not enrolled": {
			[]string{"push"}, duoSays("Enroll an authentication device to proceed (https://api-1.duosecurity.com/portal?code=1)"),
			want{outcome: mfa.Unavailable, text: "enrol at https://api-1.duosecurity.com/portal?code=1, then"},
		},
		"not enrolled, nowhere to": {
			[]string{"push"}, duoSays(`Enroll an authentication device to proceed (https://duo/\u001b[2J)`),
			want{outcome: mfa.Unavailable, text: "ask whoever runs it how to"},
		},
		"a code that is not the problem": {[]string{"1"}, duoSays("invalid username or password"), want{}},
		// Without a prompt, the login goes as it came; after a code was asked for, no more is sent.
		"no prompt at all": {
			[]string{"unavailable"}, after(5*time.Second, duoSays(incorrect)),
			want{outcome: mfa.Unavailable, text: "vault decided by itself", noPrompt: true, status: 400, sent: []string{`{"password":"p"}`}},
		},
		"no prompt any more": {
			[]string{"000000", "unavailable"}, after(5*time.Second, duoSays(incorrect)),
			want{outcome: mfa.Unavailable, text: "there is no way to ask", noPrompt: true, status: 400, sent: []string{withZeros}},
		},
		// Clients repeat a 502 by themselves, and the person would be asked again.
		"vault is gone": {
			[]string{"123456"}, fails(errors.New("connection reset")), want{outcome: mfa.Unavailable, text: "connection reset"},
		},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.person.codes(tt.answers...)
		f.up.serve = tt.says
		f.bodyLogin(t.Context(), mfa.LegacyMount).check(t, tt.want)
	})
}

// A wrong password is refused at once, and gives no notice of a push.
func TestLegacyNoticeWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		var notified time.Time
		f.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
			if r.Kind != prompt.Push {
				return "push", nil
			}
			notified = time.Now()
			<-ctx.Done()
			return "", ctx.Err()
		}
		f.up.serve = after(time.Minute, always(200, issued))
		f.bodyLogin(t.Context(), mfa.LegacyMount).check(t, want{outcome: mfa.Approved})
		if late := notified.Sub(f.up.at[0]); late > time.Second {
			t.Errorf("notified %s after it was sent", late)
		}
	})
}

// oktaToken logs in, so that the state knows a token of Okta's.
func (f *fixture) oktaToken(t *testing.T) (token, accessor secret.Secret) {
	t.Helper()
	f.up.serve = always(200, issued)
	f.bodyLogin(t.Context(), mfa.OktaMount).check(t, want{})
	return "hvs.okta", "acc"
}

func TestRenewal(t *testing.T) {
	type test struct {
		delay   time.Duration
		status  int
		body    string
		outcome mfa.Outcome
		text    string
	}
	run(t, map[string]test{
		"approved":              {5 * time.Second, 200, issued, mfa.Approved, ""},
		"okta wants none":       {0, 200, issued, "", ""},
		"refused":               {5 * time.Second, 400, oktaDenied, mfa.Denied, "refused on the phone"},
		"wants a number":        {time.Second, 400, `{"errors":["nonce must be provided during login request when presented with number challenge"]}`, mfa.Unavailable, "log in again instead"},
		"wants a code":          {0, 400, `{"errors":["'totp' passcode parameter is required to perform MFA"]}`, mfa.Unavailable, "log in again instead"},
		"not renewable":         {0, 400, `{"errors":["lease is not renewable"]}`, "", ""},
		"dropped by a balancer": {time.Minute, 504, "", mfa.Timeout, "idle timeout"},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		token, accessor := f.oktaToken(t)
		f.up.serve = after(tt.delay, always(tt.status, tt.body))
		for path, subject := range map[string]secret.Secret{"renew-self": token, "renew-accessor": accessor} {
			var notified time.Time
			f.person.answer = func(ctx context.Context, r prompt.Request) (string, error) {
				if notified = time.Now(); r.Message != "renewing your Okta token sends a push" || r.Kind != prompt.Push {
					t.Errorf("asked %+v", r)
				}
				<-ctx.Done()
				return "", ctx.Err()
			}
			f.renew(t.Context(), subject, path).check(t, want{outcome: tt.outcome, text: tt.text, status: tt.status})
			if sent := f.up.at[len(f.up.at)-1]; tt.delay > 0 && notified.After(sent) {
				t.Errorf("notified %s after it was sent", notified.Sub(sent))
			}
		}
		equal(t, "look-ups", 0, f.vault.lookups)
	})
}

// A token of another method is renewed without a notice, after one look-up of each.
func TestRenewalOfOtherTokens(t *testing.T) {
	type test struct {
		err     error
		lookups int // after two renewals
	}
	run(t, map[string]test{
		"made elsewhere":         {nil, 1},
		"may not look itself up": {dead(), 1},
		"vault is not there":     {errors.New("connection refused"), 2},
	}, func(t *testing.T, tt test) {
		f := newFixture(t, nil)
		f.vault.lookup = tt.err
		f.up.serve = after(10*time.Second, always(200, issued))
		for range 2 {
			f.renew(t.Context(), "hvs.other", "renew-self").check(t, want{status: 200})
		}
		f.renew(t.Context(), "unknown", "renew-accessor").check(t, want{asked: nothing})
		equal(t, "look-ups", tt.lookups, f.vault.lookups)
	})
}

// After a denial the next renewal is not sent: a program renews again and again.
func TestRenewalCooldown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		token, _ := f.oktaToken(t)
		f.up.sent, f.up.serve = nil, after(5*time.Second, always(400, oktaDenied))
		for _, outcome := range []mfa.Outcome{mfa.Denied, mfa.Cooldown, mfa.Cooldown} {
			f.renew(t.Context(), token, "renew-self").check(t, want{outcome: outcome, sent: []string{""}})
		}
	})
}

// A denied notice takes the renewal back.
func TestRenewalDeniedHere(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		token, _ := f.oktaToken(t)
		f.person.push = "1s no"
		f.up.serve = after(time.Hour, nil)
		f.renew(t.Context(), token, "renew-self").check(t, want{outcome: mfa.Denied, status: none})
	})
}

// The state remembers so many tokens, and forgets the oldest first.
func TestOriginsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.up.serve = always(200, "")
		renew := func(i int) {
			f.renew(t.Context(), secret.Secret("hvs."+strings.Repeat("x", i)), "renew-self").check(t, want{})
		}
		for i := range 1025 {
			renew(i)
		}
		renew(1024)
		equal(t, "look-ups", 1025, f.vault.lookups)
		renew(0)
		equal(t, "look-ups after the first was forgotten", 1026, f.vault.lookups)
	})
}
