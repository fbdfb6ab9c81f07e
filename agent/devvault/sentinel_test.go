package devvault

import (
	"strings"
	"testing"
	"testing/synctest"
)

const (
	egpTrace = "2 errors occurred:\n\t* egp standard policy \"root/pay\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\n" +
		"A trace of the execution for policy \"root/pay\" is available:\n\nResult: false\n\nDescription: <none>\n\n" +
		"Rule \"main\" (root/pay:4:1) = false\n\t* permission denied\n\n"
	egpPlain = "2 errors occurred:\n\t* egp standard policy \"root/pay\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\t* permission denied\n\n"
	egpOld   = "1 error occurred:\n\n* egp standard policy \"pay\" evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n\n" +
		"A trace of the execution for policy \"pay\" is available:\n\nResult: false\n\nDescription: <none>\n\nRule \"main\" (byte offset 202) = false\n"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	paths := []string{"secret/data/x", "auth/userpass/login/+"}
	tests := []struct {
		name   string
		policy Sentinel
		method string
		path   string
		code   bool // the right one goes with the request
		status int
		text   string
	}{
		{"with its trace", Sentinel{Paths: paths, Methods: []string{"corp"}}, "GET", "secret/data/x", false, 403, egpTrace},
		{"without", Sentinel{Paths: paths, Methods: []string{"corp"}, NoTrace: true}, "GET", "secret/data/x", false, 403, egpPlain},
		{"as in old versions", Sentinel{Paths: paths, Methods: []string{"corp"}, Old: true}, "GET", "secret/data/x", false, 403, egpOld},
		{"with a code", Sentinel{Paths: paths, Methods: []string{"corp"}}, "GET", "secret/data/x", true, 200, ""},
		{"elsewhere", Sentinel{Paths: paths, Methods: []string{"corp"}}, "GET", "secret/data/y", false, 404, ""},
		{"one of two", Sentinel{Paths: paths, Methods: []string{"corp", "other"}}, "GET", "secret/data/x", true, 403, egpTrace},
		{"a role's", Sentinel{Methods: []string{"corp"}}, "GET", "secret/data/x", false, 403, strings.Replace(egpTrace, "egp", "rgp", 1)},
		{"a role's, at a mount", Sentinel{Methods: []string{"corp"}}, "GET", "sys/internal/ui/mounts/secret/x", false, 400, strings.Replace(egpTrace, "egp", "rgp", 1)},
		{"a login", Sentinel{Paths: paths, Methods: []string{"corp"}}, "PUT", "auth/userpass/login/alice", false, 400, egpTrace},
		{"a login with a code", Sentinel{Paths: paths, Methods: []string{"corp"}}, "PUT", "auth/userpass/login/alice", true, 200, ""},
		{"a login of nobody", Sentinel{Paths: paths, Methods: []string{"corp"}}, "PUT", "auth/userpass/login/nobody", true, 400, egpTrace},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := newStepUp(t, Config{})
			check(t, s.PutSecret("secret/x", map[string]any{"k": "v"}))
			s.AddPolicy("guarded", PathRule{Path: "secret/data/+", Capabilities: []string{"read"}})
			s.AddUser("userpass", "alice", "pw")
			tt.policy.Name = "pay"
			s.AddSentinel(tt.policy)
			c, body := c.as(s.CreateToken([]string{"default", "guarded"}, "alice")), any(nil)
			if tt.method == "PUT" {
				c, body = c.as(""), map[string]string{"password": "pw"}
			}
			var header []string
			if tt.code {
				header = []string{"X-Vault-MFA", "corp:" + s.UnusedCode("corp", "alice")}
			}
			got := c.do(tt.method, "/v1/"+tt.path, body, header...)
			got.wantAnswer(t, tt.status, tt.text)
		})
	}
}

// One push for a request, however many policies want the method; and none for root.
func TestSentinelPushesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepUp(t, Config{})
		push := s.AddPushMethod("phone", "okta")
		push.Always(true)
		for _, name := range []string{"a", "b"} {
			s.AddSentinel(Sentinel{Name: name, Paths: []string{"secret/data/phone"}, Methods: []string{"phone"}})
		}
		if got := c.do("GET", "/v1/secret/data/phone", nil); got.status != 200 || push.Sent() != 1 {
			t.Errorf("got %d %s after %d pushes", got.status, got.body, push.Sent())
		}
		if got := c.as(s.RootToken()).do("GET", "/v1/secret/data/phone", nil); got.status != 200 || push.Sent() != 1 {
			t.Errorf("root got %d %s after %d pushes", got.status, got.body, push.Sent())
		}
	})
}

func TestDuo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header []string
		status int
		pushes int
	}{
		{"a code", []string{"X-Vault-MFA", "phone:passcode=1234567"}, 200, 0},
		{"a wrong code", []string{"X-Vault-MFA", "phone:passcode=7654321"}, 403, 0},
		{"a code in another form is a push", []string{"X-Vault-MFA", "phone:1234567"}, 200, 1},
		{"a wish to push", []string{"X-Vault-MFA", "phone:method=push"}, 200, 1},
		{"a bare name", []string{"X-Vault-MFA", "phone"}, 200, 1},
		{"nothing", nil, 200, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := newStepUp(t, Config{})
			push := s.AddPushMethod("phone", "duo")
			push.Always(true)
			push.AcceptPasscodes("1234567")
			got := c.do("GET", "/v1/secret/data/phone", nil, tt.header...)
			if got.status != tt.status || push.Sent() != tt.pushes {
				t.Errorf("got %d %s after %d pushes", got.status, got.body, push.Sent())
			}
			if tt.name == "a code" {
				c.do("GET", "/v1/secret/data/phone", nil, tt.header...).refused(t, 403, textDenied) // used
			}
		})
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	const text = `failed to perform Duo preauth: Post "https://api-1.duosecurity.com/auth/v2/preauth": dial tcp: i/o timeout`
	s, c := newStepUp(t, Config{})
	push := s.AddPushMethod("phone", "duo")
	push.Always(true)
	read := func() answer { return c.do("GET", "/v1/secret/data/phone", nil) }
	push.Outage(text, 0)
	read().refused(t, 403, textDenied)
	push.Outage(text, 500)
	read().refused(t, 500, "1 error occurred:\n\t* "+text+"\n\n")
	push.Outage("", 0)
	if got := read(); got.status != 200 || push.Sent() != 1 {
		t.Errorf("got %d %s after %d pushes", got.status, got.body, push.Sent())
	}
}
