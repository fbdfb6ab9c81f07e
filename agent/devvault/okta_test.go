package devvault

import (
	"context"
	"net/http"
	"testing"
	"time"
)

const oktaLogin = "/v1/auth/team/okta/login/alice"

// newOkta is a Vault with an Okta mount, at which alice may log in.
func newOkta(t *testing.T) (*Okta, client) {
	t.Helper()
	s, c := newFixture(t, Config{})
	o := s.AddOkta("team/okta")
	s.AddUser("team/okta", "alice", "pw", "dev")
	return o, c.as("")
}

// beside does a login in the background, and returns when its push is on the phone.
func beside(t *testing.T, p *Push, login func() answer) <-chan answer {
	t.Helper()
	done := make(chan answer, 1)
	go func() { done <- login() }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		t.Fatal("no push was sent")
	}
	return done
}

func TestOktaLogin(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		set    func(*Okta)
		body   string
		status int
		text   string // of a refusal
	}{
		"wrong password":          {func(*Okta) {}, `{"password":"x"}`, 400, textOktaFailed},
		"approved":                {func(o *Okta) { o.Always(true) }, `{"password":"pw"}`, 200, ""},
		"refused":                 {func(o *Okta) { o.Always(false) }, `{"password":"pw"}`, 400, textOktaDenied},
		"a code":                  {func(o *Okta) { o.Enrol(false, "123456") }, `{"password":"pw","totp":"123456"}`, 200, ""},
		"a code before a push":    {func(o *Okta) { o.Enrol(true, "123456") }, `{"password":"pw","totp":"123456"}`, 200, ""},
		"wrong code":              {func(o *Okta) { o.Enrol(false, "123456") }, `{"password":"pw","totp":"000000"}`, 400, textOktaFailed},
		"no code":                 {func(o *Okta) { o.Enrol(false, "123456") }, `{"password":"pw"}`, 400, textOktaCode},
		"google has no push":      {func(o *Okta) { o.Enrol(true, "123456") }, `{"password":"pw","provider":"google"}`, 400, textOktaCode},
		"a provider that is none": {func(*Okta) {}, `{"password":"pw","provider":"x"}`, 400, "provider X is not among the supported ones [GOOGLE OKTA]"},
		"nothing enrolled":        {func(o *Okta) { o.Enrol(false) }, `{"password":"pw"}`, 400, textOktaNoFactor},
		"a number and no nonce":   {func(o *Okta) { o.Challenge(42) }, `{"password":"pw"}`, 400, textOktaNonce},
		"a number and a nonce":    {func(o *Okta) { o.Challenge(42); o.Always(true) }, `{"password":"pw","nonce":"n"}`, 200, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, c := newOkta(t)
			tt.set(o)
			c.do("POST", oktaLogin, tt.body).wantLogin(t, tt.status, tt.text)
		})
	}
}

// The number is known while its login waits, to a program that knows the nonce.
func TestOktaVerify(t *testing.T) {
	t.Parallel()
	o, c := newOkta(t)
	o.Challenge(42)
	verify := func() answer { return c.do("GET", "/v1/auth/team/okta/verify/n1", nil) }
	verify().want(t, 404, `{"errors":[]}`+"\n")
	done := beside(t, o.Push, func() answer { return c.do("PUT", oktaLogin, `{"password":"pw","nonce":"n1"}`) })
	o.Hold(true)
	verify().want(t, 404, `{"errors":[]}`+"\n")
	o.Hold(false)
	if got := verify(); got.status != 200 || got.at(t, "data", "correct_answer") != 42.0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	c.do("GET", "/v1/auth/team/okta/verify/n2", nil).want(t, 404, `{"errors":[]}`+"\n")
	o.Approve()
	(<-done).wantStatus(t, 200)
	verify().want(t, 404, `{"errors":[]}`+"\n")
}

// To renew a token of such a login is to log in with Okta again, without a nonce.
func TestOktaRenewal(t *testing.T) {
	t.Parallel()
	o, c := newOkta(t)
	o.Always(true)
	login := c.do("POST", oktaLogin, `{"password":"pw"}`)
	token, accessor := login.text(t, "auth", "client_token"), login.text(t, "auth", "accessor")
	renewals := map[string]func() answer{
		"self": func() answer { return c.as(token).do("PUT", "/v1/auth/token/renew-self", nil) },
		"token": func() answer {
			return c.as("root").do("PUT", "/v1/auth/token/renew", map[string]string{"token": token})
		},
		"accessor": func() answer {
			return c.as("root").do("PUT", "/v1/auth/token/renew-accessor", map[string]string{"accessor": accessor})
		},
	}
	for name, renew := range renewals {
		o.Always(true)
		before := o.Sent()
		if got := renew(); got.status != 200 || o.Sent() != before+1 {
			t.Errorf("%s: %d %s after %d pushes", name, got.status, got.body, o.Sent()-before)
		}
		o.Always(false)
		renew().refused(t, 400, textOktaDenied)
	}
	o.Challenge(42)
	renewals["self"]().refused(t, 400, textOktaNonce)
	c.as("root").do("PUT", "/v1/auth/token/renew-accessor", map[string]string{"accessor": "x"}).wantStatus(t, http.StatusForbidden)
}

func TestLegacyDuo(t *testing.T) {
	t.Parallel()
	const address = "https://api-1.duosecurity.com/portal?code=1&akey=2"
	tests := map[string]struct {
		set    func(*LegacyDuo)
		body   string
		status int
		text   string
	}{
		"wrong password":       {func(*LegacyDuo) {}, `{"password":"x","passcode":"123456"}`, 400, textBadPassword},
		"a code":               {func(d *LegacyDuo) { d.Codes("123456") }, `{"password":"pw","passcode":"123456"}`, 200, ""},
		"a code wins":          {func(d *LegacyDuo) { d.Codes("123456") }, `{"password":"pw","passcode":"123456","method":"push"}`, 200, ""},
		"wrong code":           {func(d *LegacyDuo) { d.Codes("123456") }, `{"password":"pw","passcode":"1"}`, 400, textDuoWrongCode},
		"push":                 {func(d *LegacyDuo) { d.Always(true) }, `{"password":"pw","method":"push"}`, 200, ""},
		"not a word is a push": {func(d *LegacyDuo) { d.Always(true) }, `{"password":"pw"}`, 200, ""},
		"push refused":         {func(d *LegacyDuo) { d.Always(false) }, `{"password":"pw"}`, 400, "Login request denied."},
		"not enrolled":         {func(d *LegacyDuo) { d.Unenrolled(address) }, `{"password":"pw"}`, 400, "Enroll an authentication device to proceed (" + address + ")"},
		"no configuration":     {func(d *LegacyDuo) { d.Fail(DuoUnconfigured) }, `{"password":"pw"}`, 400, "Could not load Duo configuration"},
		"in small letters":     {func(d *LegacyDuo) { d.Fail(DuoUnreachable); d.LowerCase() }, `{"password":"pw"}`, 400, "could not call Duo preauth"},
		"duo's own stay":       {func(d *LegacyDuo) { d.Fail(DuoLocked); d.LowerCase() }, `{"password":"pw"}`, 400, textDuoLocked},
		"well again":           {func(d *LegacyDuo) { d.Fail(DuoWrongKey); d.Fail(DuoWorks); d.Always(true) }, `{"password":"pw"}`, 200, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := newFixture(t, Config{})
			d := s.AddLegacyDuo("ldap")
			s.AddUser("ldap", "alice", "pw", "dev")
			tt.set(d)
			c.as("").do("POST", "/v1/auth/ldap/login/alice", tt.body).wantLogin(t, tt.status, tt.text)
		})
	}
}

// A code is good for one login; a client that leaves ends the push.
func TestLegacyDuoOnce(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	d := s.AddLegacyDuo("ldap")
	s.AddUser("ldap", "alice", "pw", "dev")
	d.Codes("123456")
	code := map[string]string{"password": "pw", "passcode": "123456"}
	c.do("PUT", "/v1/auth/ldap/login/alice", code).wantStatus(t, 200)
	c.do("PUT", "/v1/auth/ldap/login/alice", code).refused(t, 400, textDuoWrongCode)
	ctx, leave := context.WithCancel(t.Context())
	c.ctx = ctx
	done := beside(t, d.Push, func() answer { return c.do("PUT", "/v1/auth/ldap/login/alice", `{"password":"pw"}`) })
	leave()
	(<-done).refused(t, 400, textDuoNoAuth)
	if d.Pending() != 0 {
		t.Error("the push goes on")
	}
}
