package devvault

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const grantedAuth = envelopeHead + `"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"TOKEN","accessor":"ACCESSOR","policies":["default","dev"],"token_policies":["default","dev"],"metadata":{"username":"alice"},"lease_duration":2764800,"renewable":true,"entity_id":"UUID","token_type":"service","orphan":true,"mfa_requirement":null,"num_uses":0},"mount_type":""}` + "\n"

// newLogin has a login at userpass that wants the TOTP method corp; alice is enrolled, bob is not.
func newLogin(t *testing.T, cfg Config) (s *Server, c client, method string) {
	t.Helper()
	s, c = newFixture(t, cfg)
	method = s.AddTOTPMethod("corp")
	enrol(t, s.Namespace, "corp", "alice")
	enforce(t, s.Namespace, "ups", "corp")
	return s, c.as(""), method
}

// enrol gives a user a secret of a TOTP method.
func enrol(t *testing.T, n *Namespace, method, entity string) {
	t.Helper()
	_, _, err := n.EnrolTOTP(method, entity)
	check(t, err)
}

// given is the payload of one method.
func given(method string, credentials ...string) map[string]any {
	return map[string]any{method: credentials}
}

func enforce(t *testing.T, n *Namespace, name string, methods ...string) {
	t.Helper()
	check(t, n.AddLoginEnforcement(name, methods, []string{"userpass"}))
}

// hold logs in, and returns the ID of the held login.
func (c client) hold(user string, headers ...string) string {
	c.t.Helper()
	got := c.do("POST", "/v1/auth/userpass/login/"+user, `{"password":"pw"}`, headers...)
	id := got.text(c.t, "auth", "mfa_requirement", "mfa_request_id")
	if id == "" {
		c.t.Fatalf("the login was not held: %d %s", got.status, got.body)
	}
	return id
}

func (c client) validate(id string, payload any, headers ...string) answer {
	c.t.Helper()
	return c.do("POST", "/v1/sys/mfa/validate", map[string]any{"mfa_request_id": id, "mfa_payload": payload}, headers...)
}

func TestLoginIsHeld(t *testing.T) {
	t.Parallel()
	s, c, _ := newLogin(t, Config{})
	const (
		head = envelopeHead + `"data":null,"wrap_info":null,"warnings":["A login request was issued that is subject to MFA validation. Please make sure to validate the login by sending another request to mfa/validate endpoint."],"auth":{"client_token":"","accessor":"","policies":null,"metadata":null,"lease_duration":0,"renewable":false,"entity_id":"","token_type":"default","orphan":false,"mfa_requirement":{"mfa_request_id":"UUID","mfa_constraints":{`
		ups  = `"ups":{"any":[{"type":"totp","id":"UUID","uses_passcode":true,"name":"corp"}]}`
		tail = `}},"num_uses":0},"mount_type":""}`
	)
	login := func(headers ...string) answer {
		return c.login("alice", headers...)
	}
	login().want(t, 200, head+ups+tail+"\n")
	s.AddPushMethod("phone", "okta")
	enforce(t, s.Namespace, "also", "phone", "corp")
	login().want(t, 200, head+`"also":{"any":[{"type":"okta","id":"UUID","name":"phone"},{"type":"totp","id":"UUID","uses_passcode":true,"name":"corp"}]},`+ups+tail+"\n")

	// Vault wraps the requirement itself, and leaves nothing of it outside, warnings included.
	wrapped := login("X-Vault-Wrap-TTL", "60")
	wrapped.want(t, 200, wrapInfo+`auth/userpass/login/alice"},"warnings":null,"auth":null,"mount_type":""}`+"\n")
	inside := c.as(wrapped.text(t, "wrap_info", "token")).do("POST", "/v1/sys/wrapping/unwrap", nil)
	if inside.at(t, "auth", "mfa_requirement", "mfa_constraints", "also") == nil || !strings.Contains(inside.body, textLoginMFA) {
		t.Errorf("unwrapped: %s", inside.body)
	}
	if n := s.HeldLogins(); n != 3 {
		t.Errorf("%d logins are held", n)
	}
}

func TestEnforcementNeedsItsParts(t *testing.T) {
	t.Parallel()
	s, c, _ := newLogin(t, Config{})
	for name, err := range map[string]error{
		"unknown method": s.AddLoginEnforcement("x", []string{"nope"}, []string{"userpass"}),
		"no method":      s.AddLoginEnforcement("x", nil, []string{"userpass"}),
		"no mount":       s.AddLoginEnforcement("x", []string{"corp"}, nil),
		"no name":        s.AddLoginEnforcement("", []string{"corp"}, []string{"userpass"}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s.AddUser("up2", "carl", "pw")
	if got := c.do("POST", "/v1/auth/up2/login/carl", `{"password":"pw"}`); got.text(t, "auth", "client_token") == "" {
		t.Errorf("a mount without enforcement: %s", got.body)
	}
}

// Each answer was read off a Vault 1.21.0.
func TestValidateTexts(t *testing.T) {
	t.Parallel()
	failed := func(reasons ...string) string {
		reasons = append(reasons, "login MFA validation failed for methodID: [METHOD]")
		return "failed to satisfy enforcement ups. error: " + multiError(reasons...)
	}
	const unfound = "failed to satisfy enforcement ups. error: failed to sanitize MFA creds, 1 error occurred:\n\t* failed to find MFA credentials associated with an MFA method ID METHOD, method name corp\n\n"
	tests := []struct {
		name, user, body string // ID and METHOD are replaced
		status           int
		text             string
	}{
		{"empty", "alice", `{}`, 400, "missing request ID"},
		{"no body", "alice", ``, 400, "missing request ID"},
		{"unknown id", "alice", `{"mfa_request_id":"nope","mfa_payload":{"x":[]}}`, 400, "invalid request ID"},
		{"number as id", "alice", `{"mfa_request_id":5,"mfa_payload":{}}`, 400, "invalid request ID"},
		{"no payload", "alice", `{"mfa_request_id":"ID"}`, 403, unfound},
		{"empty payload", "alice", `{"mfa_request_id":"ID","mfa_payload":{}}`, 403, unfound},
		{"empty list as payload", "alice", `{"mfa_request_id":"ID","mfa_payload":[]}`, 403, unfound},
		{"other method", "alice", `{"mfa_request_id":"ID","mfa_payload":{"other":["1"]}}`, 403, unfound},
		{"text as payload", "alice", `{"mfa_request_id":"ID","mfa_payload":"x"}`, 400, `Field validation failed: error converting input for field "mfa_payload": '' expected a map, got 'string'`},
		{"list as payload", "alice", `{"mfa_request_id":"ID","mfa_payload":[1]}`, 400, `Field validation failed: error converting input for field "mfa_payload": '[0]' expected a map, got 'string'`},
		{"text as credentials", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":"1"}}`, 400, "invalid mfa payload"},
		{"bool as credential", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":[true]}}`, 400, "invalid mfa payload"},
		{"null", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":null}}`, 403, failed()},
		{"no credential", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":[]}}`, 403, failed("MFA credentials not supplied")},
		{"empty credential", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":[""]}}`, 403, failed("MFA credentials not supplied")},
		{"short code", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":["1"]}}`, 403, failed("failed to validate TOTP passcode")},
		{"code with a blank", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":[" 123456"]}}`, 403, failed("failed to validate TOTP passcode")},
		{"number", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":[1]}}`, 403, failed("failed to validate TOTP passcode")},
		{"two codes", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":["1","2"]}}`, 403, failed("failed to parse MFA factor, found multiple passcodes for the same MFA method")},
		{"method=push", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":["method=push"]}}`, 403, failed("failed to parse MFA factor, found an invalid MFA cred: method=push")},
		{"passcode=", "alice", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":["passcode="]}}`, 403, failed("failed to parse MFA factor, invalid passcode")},
		{"not enrolled", "bob", `{"mfa_request_id":"ID","mfa_payload":{"METHOD":["123456"]}}`, 403, failed(`MFA secret for method ID "METHOD" not present in entity "ENTITY" or cached MFA auth response`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c, method := newLogin(t, Config{})
			id := c.hold(tt.user)
			got := c.do("PUT", "/v1/sys/mfa/validate", strings.NewReplacer("METHOD", method, `"ID"`, `"`+id+`"`).Replace(tt.body))
			var errors struct{ Errors []string }
			check(t, json.Unmarshal([]byte(got.body), &errors))
			want := strings.NewReplacer("METHOD", method, "ENTITY", s.AddEntity(tt.user)).Replace(tt.text)
			if got.status != tt.status || len(errors.Errors) != 1 || errors.Errors[0] != want {
				t.Errorf("got %d %q\nwant %d %q", got.status, errors.Errors, tt.status, want)
			}
			// A failure leaves the request ID usable.
			if tt.user == "alice" {
				c.validate(id, given(method, s.Code("corp", "alice"))).want(t, 200, grantedAuth)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	s, c, method := newLogin(t, Config{})
	c.do("GET", "/v1/sys/mfa/validate", nil).refused(t, 405, "unsupported operation")

	id := c.hold("alice")
	got := c.validate(id, given("corp", "passcode="+s.Code("corp", "alice"))) // by name, as a pair
	got.want(t, 200, grantedAuth)
	c.as(got.text(t, "auth", "client_token")).do("GET", "/v1/secret/data/x", nil).wantStatus(t, 200)
	c.validate(id, given(method, "1")).refused(t, 400, "invalid request ID")

	id = c.hold("alice")
	c.validate(id, given(method, s.Code("corp", "alice"))).refused(t, 403,
		"failed to satisfy enforcement ups. error: 2 errors occurred:\n\t* failed to validate TOTP passcode\n\t* login MFA validation failed for methodID: ["+method+"]\n\n")
	wrapped := c.validate(id, given(method, s.UnusedCode("corp", "alice")), "X-Vault-Wrap-TTL", "60")
	wrapped.want(t, 200, wrapInfo+`sys/mfa/validate","wrapped_accessor":"ACCESSOR"},"warnings":null,"auth":null,"mount_type":""}`+"\n")

	id = c.hold("alice")
	c.clock.Add(299 * time.Second)
	c.validate(id, given(method, "000000")).wantStatus(t, 403)
	c.clock.Add(time.Second)
	c.validate(id, given(method, s.Code("corp", "alice"))).refused(t, 400, "invalid request ID")
	if n := s.HeldLogins(); n != 0 {
		t.Errorf("%d logins are held", n)
	}
}

func TestCodesAreRememberedForNinetySeconds(t *testing.T) {
	t.Parallel()
	s, c, method := newLogin(t, Config{})
	code := s.codes("corp", "alice").at(1) // the next one: right now and for two periods more
	c.validate(c.hold("alice"), given(method, code)).want(t, 200, grantedAuth)
	m := s.methodLocked("corp")
	for _, tt := range []struct {
		after time.Duration
		fresh bool
	}{{0, false}, {89 * time.Second, false}, {90 * time.Second, true}} {
		if err := m.fresh(code, c.clock.Now().Add(tt.after)); (err == nil) != tt.fresh {
			t.Errorf("after %v: %v", tt.after, err)
		}
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	s, c, method := newLogin(t, Config{})
	failed := func(reason string) string {
		return "failed to satisfy enforcement ups. error: 2 errors occurred:\n\t* " + reason + "\n\t* login MFA validation failed for methodID: [" + method + "]\n\n"
	}
	const (
		wrong = "failed to validate TOTP passcode"
		limit = "maximum TOTP validation attempts 6 exceeded the allowed attempts 5. Please try again in 30s seconds"
	)
	used := s.Code("corp", "alice")
	c.validate(c.hold("alice"), given(method, used)).want(t, 200, grantedAuth)
	right := s.UnusedCode("corp", "alice")
	id := c.hold("alice")
	guesses, tried := s.codes("corp", "alice"), 0
	for n := 0; tried < totpAttempts; n++ {
		guess := fmt.Sprintf("%06d", n)
		if guess == guesses.at(0) || guess == guesses.at(1) || guess == guesses.at(-1) {
			continue
		}
		tried++
		c.validate(id, given(method, guess)).refused(t, 403, failed(wrong))
		// Neither used codes nor wrong lengths count.
		c.validate(id, given(method, used)).refused(t, 403, failed(wrong))
		c.validate(id, given(method, "1234567")).refused(t, 403, failed(wrong))
	}
	c.validate(id, given(method, right)).refused(t, 403, failed(limit))
	c.validate(id, given(method, used)).refused(t, 403, failed(wrong))
	c.clock.Add(29 * time.Second)
	c.validate(id, given(method, right)).refused(t, 403, failed(limit))
	c.clock.Add(time.Second)
	c.validate(id, given(method, s.UnusedCode("corp", "alice"))).want(t, 200, grantedAuth)
}

func TestSinglePhase(t *testing.T) {
	t.Parallel()
	s, c, method := newLogin(t, Config{})
	login := func(lines ...string) answer {
		var headers []string
		for _, l := range lines {
			headers = append(headers, "X-Vault-MFA", l)
		}
		return c.login("alice", headers...)
	}
	for _, line := range []string{"corp:00", "other:1", "corp"} {
		login(line).refused(t, 403, "permission denied")
	}
	login("corp:"+s.UnusedCode("corp", "alice")).want(t, 200, grantedAuth)
	login(method+":passcode="+s.UnusedCode("corp", "alice")).want(t, 200, grantedAuth)
	s.AddUser("up2", "carl", "pw")
	if got := c.do("POST", "/v1/auth/up2/login/carl", `{"password":"pw"}`, "X-Vault-MFA", "corp:1"); got.text(t, "auth", "client_token") == "" ||
		!strings.Contains(got.body, `"warnings":["Found MFA header but failed to find MFA Enforcement Config"]`) {
		t.Errorf("no enforcement: %d %s", got.status, got.body)
	}
	if n := s.HeldLogins(); n != 0 {
		t.Errorf("%d logins are held", n)
	}
}

func TestEveryEnforcementAnyMethod(t *testing.T) {
	t.Parallel()
	s, c, corp := newLogin(t, Config{})
	second := s.AddTOTPMethod("second")
	third := s.AddTOTPMethod("third") // nobody is enrolled
	enrol(t, s.Namespace, "second", "alice")
	enforce(t, s.Namespace, "zwei", "third", "second")
	code := func(m string) []string { return []string{s.UnusedCode(m, "alice")} }
	unenrolled := fmt.Sprintf(textNotEnrolled, third, s.AddEntity("alice"))
	ids := "[" + third + " " + second + "]"

	id := c.hold("alice")
	c.validate(id, map[string]any{second: code("second")}).refused(t, 403, fmt.Sprintf("failed to satisfy enforcement ups. error: failed to sanitize MFA creds, 1 error occurred:\n\t* failed to find MFA credentials associated with an MFA method ID %s, method name corp\n\n", corp))
	burnt := code("corp")
	c.validate(id, map[string]any{corp: burnt, third: []string{"123456"}}).refused(t, 403,
		"failed to satisfy enforcement zwei. error: 2 errors occurred:\n\t* "+unenrolled+"\n\t* login MFA validation failed for methodID: "+ids+"\n\n")
	// The first code passed, so it is used although the login failed.
	if got := c.validate(id, map[string]any{corp: burnt, second: code("second")}); got.status != 403 || !strings.Contains(got.body, "enforcement ups") {
		t.Errorf("burnt code: %d %s", got.status, got.body)
	}
	c.validate(id, map[string]any{corp: code("corp"), third: []string{"1"}, "second": code("second")}).want(t, 200, grantedAuth)
}

// While a push is out, a second validate of the same login finds nothing, and the first goes on.
func TestValidateOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newFixture(t, Config{Now: time.Now, PushTimeout: 20 * time.Second})
		c = c.as("")
		push := s.AddPushMethod("phone", "pingid")
		enforce(t, s.Namespace, "pe", "phone")
		id := c.hold("alice")
		payload := given("phone", "") // as the API client sends it
		start := func(ctx context.Context) <-chan answer {
			done := make(chan answer, 1)
			c := c
			c.ctx = ctx
			go func() { done <- c.validate(id, payload) }()
			synctest.Wait()
			return done
		}
		refused := func(a answer, reason string) {
			t.Helper()
			if a.status != 403 || !strings.Contains(a.body, reason) {
				t.Errorf("got %d %s, want %s", a.status, a.body, reason)
			}
		}
		first := start(t.Context())
		c.validate(id, payload).refused(t, 400, "invalid request ID")
		push.Deny()
		refused(<-first, `\n\t* push verification explicitly rejected\n\t* login MFA validation failed for methodID: [`)

		refused(<-start(t.Context()), "push verification timed out") // nobody answers

		ctx, cancel := context.WithCancel(t.Context())
		third := start(ctx)
		cancel()
		refused(<-third, "push verification operation canceled")

		fourth := start(t.Context())
		push.Approve()
		(<-fourth).want(t, 200, grantedAuth)
		c.validate(id, payload).refused(t, 400, "invalid request ID")
	})
}

// Of many that validate one login with codes at once, one gets the token.
func TestValidateRace(t *testing.T) {
	t.Parallel()
	s, c, method := newLogin(t, Config{})
	id, code := c.hold("alice"), s.Code("corp", "alice")
	answers := make([]answer, 16)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = c.validate(id, given(method, code)) })
	}
	all.Wait()
	tokens := 0
	for _, a := range answers {
		switch {
		case a.status == 200:
			tokens++
		case a.status != 400 || !strings.Contains(a.body, "invalid request ID"):
			t.Errorf("got %d %s", a.status, a.body)
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens for one login", tokens)
	}
}
