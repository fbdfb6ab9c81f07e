package devvault

import (
	"strings"
	"testing"
)

// Duo under Login MFA: a bare passcode or passcode=, each once, or the push.
func TestDuoAtLogin(t *testing.T) {
	t.Parallel()
	s, c := newFixture(t, Config{})
	duo := s.AddPushMethod("corp_duo", "duo")
	enforce(t, s.Namespace, "ups", "corp_duo")
	c = c.as("")
	const refused = `failed to satisfy enforcement ups. error: 2 errors occurred:\n\t* `
	login := func(payload ...string) answer {
		return c.validate(c.hold("alice"), map[string]any{"corp_duo": payload})
	}

	held := c.login("alice")
	if strings.Contains(held.body, "uses_passcode") {
		t.Errorf("a push uses a passcode: %s", held.body)
	}
	duo.UsePasscode()
	held = c.login("alice")
	if !strings.Contains(held.body, `{"type":"duo","id":"`) || !strings.Contains(held.body, `"uses_passcode":true,"name":"corp_duo"}`) {
		t.Errorf("use_passcode is not told: %s", held.body)
	}

	duo.AcceptPasscodes("1234567", "7654321")
	if got := login("1110001"); got.status != 403 || !strings.Contains(got.body, refused+`duo authentication failed: \"Incorrect passcode. Please try again.\"\n\t* login MFA validation failed`) {
		t.Errorf("wrong code: %d %s", got.status, got.body)
	}
	login("1234567").want(t, 200, grantedAuth)
	login("passcode=7654321").want(t, 200, grantedAuth)
	if n := duo.Sent(); n != 0 {
		t.Errorf("%d pushes for codes", n)
	}
	duo.Always(false)
	if got := login(""); got.status != 403 || !strings.Contains(got.body, refused+`duo authentication failed: \"Login request denied.\"`) || duo.Sent() != 1 {
		t.Errorf("push: %d %s", got.status, got.body)
	}
	const text = "failed to perform Duo preauth: dial tcp: i/o timeout"
	duo.Outage(text, 0)
	if got := login("1234567"); got.status != 403 || !strings.Contains(got.body, refused+text) {
		t.Errorf("outage: %d %s", got.status, got.body)
	}
}
