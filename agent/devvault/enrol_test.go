package devvault

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"net/url"
	"strings"
	"testing"
	"time"
)

func (c client) selfEnrol(id, method string, headers ...string) answer {
	c.t.Helper()
	return c.do("POST", "/v1/identity/mfa/method/totp/self-enroll", map[string]any{"mfa_request_id": id, "mfa_method_id": method}, headers...)
}

// offersSecret reports whether a login offers to make one.
func (c client) offersSecret(user string) bool {
	c.t.Helper()
	got := c.do("POST", "/v1/auth/userpass/login/"+user, `{"password":"pw"}`)
	return strings.Contains(got.body, `"name":"corp","self_enrollment_enabled":true}`)
}

// newSelfEnrolment is newLogin with a method that allows it; bob has no secret.
func newSelfEnrolment(t *testing.T, cfg Config) (s *Server, c client, method string) {
	t.Helper()
	s, c, method = newLogin(t, cfg)
	check(t, s.AllowSelfEnrolment("corp"))
	return s, c, method
}

func TestSelfEnrolmentIsOffered(t *testing.T) {
	t.Parallel()
	s, c, _ := newLogin(t, Config{})
	if c.offersSecret("bob") {
		t.Error("offered by a method that does not allow it")
	}
	s.AddPushMethod("phone", "okta")
	if s.AllowSelfEnrolment("phone") == nil || s.AllowSelfEnrolment("nope") == nil {
		t.Error("allowed for a push method, and for none")
	}
	check(t, s.AllowSelfEnrolment("corp"))
	if !c.offersSecret("bob") || c.offersSecret("alice") {
		t.Error("not offered to bob, or to alice, who has a secret")
	}
	enforce(t, s.Namespace, "also", "phone")
	if c.offersSecret("bob") {
		t.Error("offered where two enforcements apply")
	}
}

func TestSelfEnrolment(t *testing.T) {
	t.Parallel()
	s, c, method := newSelfEnrolment(t, Config{})
	id := c.hold("bob")
	got := c.selfEnrol(id, method)
	if got.status != 200 || got.text(t, "mount_type") != "identity" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	u, err := url.Parse(got.text(t, "data", "url"))
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || len(u.Query().Get("secret")) != 32 || !strings.HasPrefix(u.Path, "/Vault:") {
		t.Errorf("url %v, %v", u, err)
	}
	raw, err := base64.StdEncoding.DecodeString(got.text(t, "data", "barcode"))
	check(t, err)
	if size, err := png.DecodeConfig(bytes.NewReader(raw)); err != nil || size.Width != qrSide {
		t.Errorf("barcode %+v, %v", size, err)
	}

	// A wrong code keeps neither login nor secret, and loses neither.
	c.validate(id, given(method, "000000")).refused(t, 403, "failed to satisfy enforcement ups. error: "+multiError(textWrongCode, "login MFA validation failed for methodID: ["+method+"]"))
	if other := c.hold("bob"); !strings.Contains(c.validate(other, given(method, s.Code("corp", "bob"))).body, "not present in entity") {
		t.Error("the secret counts for another login")
	}
	c.clock.Add(time.Minute)
	c.validate(id, given(method, s.Code("corp", "bob"))).want(t, 200, strings.Replace(grantedAuth, `"alice"`, `"bob"`, 1))

	// Now bob has it for good.
	if c.offersSecret("bob") {
		t.Error("offered again")
	}
	c.clock.Add(2 * time.Minute)
	next := c.hold("bob")
	c.selfEnrol(next, method).want(t, 200, envelopeHead+`"data":null,"wrap_info":null,"warnings":["Entity already has a secret for MFA method \"corp\""],"auth":null,"mount_type":"identity"}`+"\n")
	c.validate(next, given(method, s.Code("corp", "bob"))).wantStatus(t, 200)
}

func TestSelfEnrolmentIsRefused(t *testing.T) {
	t.Parallel()
	s, c, method := newSelfEnrolment(t, Config{})
	ns1 := s.AddNamespace("ns1")
	ns1.AddUser("userpass", "carl", "pw")
	id := c.hold("bob")
	for name, tt := range map[string]struct {
		got    answer
		status int
		text   string
	}{
		"no login":          {c.selfEnrol("", method), 400, textNoRequestID},
		"unknown login":     {c.selfEnrol("nope", method), 400, textBadRequestID},
		"no method":         {c.selfEnrol(id, ""), 400, textNoSelfEnrol},
		"unknown method":    {c.selfEnrol(id, "nope"), 400, textNoSelfEnrol},
		"other namespace":   {c.selfEnrol(id, method, "X-Vault-Namespace", "ns1"), 500, "1 error occurred:\n\t* original request was issued in a different namesapce , current namespace is ns1/\n\n"},
		"read, not written": {c.do("GET", "/v1/identity/mfa/method/totp/self-enroll", nil), 405, textUnsupportedRaw},
	} {
		if tt.got.status != tt.status {
			t.Errorf("%s: %d %s", name, tt.got.status, tt.got.body)
			continue
		}
		tt.got.refused(t, tt.status, tt.text)
	}
	c.clock.Add(heldFor)
	c.selfEnrol(id, method).refused(t, 400, textBadRequestID)
	if s.Code("corp", "bob") != "" {
		t.Error("bob has a secret")
	}
}
