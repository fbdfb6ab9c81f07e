package devvault

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"
)

func TestStepUpTOTP(t *testing.T) {
	t.Parallel()
	const wrong = "wrong" // stands for six digits that are not the code
	tests := []struct {
		name    string
		path    string
		lines   []string // CODE, OTHER and wrong are replaced
		status  int
		logged  string
		noAlice bool // a token without an entity
	}{
		{"no header", "guarded", nil, 403, "MFA credentials not supplied", false},
		{"code", "guarded", []string{"corp:CODE"}, 200, "", false},
		{"wrong code", "guarded", []string{"corp:" + wrong}, 403, "failed to validate TOTP passcode", false},
		{"short code", "guarded", []string{"corp:99999999"}, 403, "failed to validate TOTP passcode", false},
		{"bare name", "guarded", []string{"corp"}, 403, "missing TOTP passcode", false},
		{"as passcode=", "guarded", []string{"corp:passcode=CODE"}, 403, "failed to validate TOTP passcode", false},
		{"with a blank", "guarded", []string{"corp: CODE"}, 403, "failed to validate TOTP passcode", false},
		{"twice", "guarded", []string{"corp:CODE", "corp:CODE"}, 403, "more than one TOTP passcode supplied", false},
		{"other method", "guarded", []string{"other:OTHER"}, 403, "MFA credentials not supplied", false},
		{"folded lines", "both", []string{"corp:CODE, other:OTHER"}, 403, "failed to validate TOTP passcode", false},
		{"one of two", "both", []string{"corp:CODE"}, 403, "MFA credentials not supplied", false},
		{"all of two", "both", []string{"other:OTHER", "corp:CODE"}, 200, "", false},
		{"not enrolled", "third", []string{"third:CODE"}, 403, "MFA secret for method name", false},
		{"no such method", "gone", []string{"gone:CODE"}, 403, "MFA method configuration not present", false},
		{"no entity", "guarded", []string{"corp:CODE"}, 403, "entity is nil", true},
		{"unguarded with a header", "x", []string{"corp:CODE"}, 200, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s, c := newStepUp(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
			entity := "alice"
			if tt.noAlice {
				entity = ""
			}
			c = c.as(s.CreateToken([]string{"default", "guarded"}, entity))
			code, other := s.Code("corp", "alice"), s.Code("other", "alice")
			bad := map[bool]string{true: "000001", false: "000000"}[code == "000000"]
			var headers []string
			for _, line := range tt.lines {
				line = strings.NewReplacer("CODE", code, "OTHER", other, wrong, bad).Replace(line)
				headers = append(headers, "X-Vault-MFA", line)
			}
			c.do("GET", "/v1/secret/data/"+tt.path, nil, headers...).wantAnswer(t, tt.status, textDenied)
			if !strings.Contains(log.String(), tt.logged) || strings.Contains(log.String(), code) {
				t.Errorf("logged %q, want %q and no code", log.String(), tt.logged)
			}
		})
	}
}

// newStepUp has secrets that want MFA, and alice enrolled for two methods of three.
func newStepUp(t *testing.T, cfg Config) (*Server, client) {
	t.Helper()
	s, c := newFixture(t, cfg)
	read := []string{"read", "update", "create"}
	s.AddPolicy("guarded",
		PathRule{Path: "secret/data/x", Capabilities: read},
		PathRule{Path: "secret/data/guarded", Capabilities: read, MFAMethods: []string{"corp"}},
		PathRule{Path: "secret/data/both", Capabilities: read, MFAMethods: []string{"corp", "other"}},
		PathRule{Path: "secret/data/third", Capabilities: read, MFAMethods: []string{"third"}},
		PathRule{Path: "secret/data/gone", Capabilities: read, MFAMethods: []string{"gone"}},
		PathRule{Path: "secret/data/phone", Capabilities: read, MFAMethods: []string{"phone"}},
		PathRule{Path: "secret/data/code-and-phone", Capabilities: read, MFAMethods: []string{"corp", "phone"}},
		PathRule{Path: "auth/token/create/r", Capabilities: []string{"update"}, MFAMethods: []string{"corp"}},
	)
	for _, name := range []string{"guarded", "both", "third", "gone", "phone", "code-and-phone"} {
		check(t, s.PutSecret("secret/"+name, map[string]any{"k": name}))
	}
	for _, name := range []string{"corp", "other", "third"} {
		s.AddTOTPMethod(name)
		if name != "third" {
			enrol(t, s.Namespace, name, "alice")
		}
	}
	return s, c.as(s.CreateToken([]string{"default", "guarded"}, "alice"))
}

func TestStepUpRemembersCodes(t *testing.T) {
	t.Parallel()
	s, c := newStepUp(t, Config{})
	code := s.Code("corp", "alice")
	header := []string{"X-Vault-MFA", "corp:" + code}
	c.do("GET", "/v1/secret/data/guarded", nil, header...).wantStatus(t, 200)
	c.do("GET", "/v1/secret/data/guarded", nil, header...).refused(t, 403, textDenied)
	c.clock.Add(30 * time.Second)
	c.do("GET", "/v1/secret/data/guarded", nil, header...).refused(t, 403, textDenied)
	seen := map[string]bool{code: true}
	for range 2 { // this period and the next are left
		next := s.UnusedCode("corp", "alice")
		if next == "" || seen[next] {
			t.Fatalf("unused code %q after %v", next, seen)
		}
		seen[next] = true
		c.do("GET", "/v1/secret/data/guarded", nil, "X-Vault-MFA", "corp:"+next).wantStatus(t, 200)
	}
	if next := s.UnusedCode("corp", "alice"); next != "" {
		t.Errorf("a fourth code %q", next)
	}
}

func TestStepUpGuardsWritesAndTokens(t *testing.T) {
	t.Parallel()
	s, c := newStepUp(t, Config{})
	s.AddTokenRole("r", TokenRole{AllowedPolicies: []string{"dev"}, MaxTTL: time.Minute})
	c.do("POST", "/v1/secret/data/guarded", `{"data":{"k":"new"}}`).refused(t, 403, textDenied)
	c.as("root").do("GET", "/v1/secret/data/guarded", nil).wantAt(t, "guarded", "data", "data", "k")
	got := c.do("POST", "/v1/secret/data/guarded", `{"data":{"k":"new"}}`, "X-Vault-MFA", "corp:"+s.UnusedCode("corp", "alice"))
	if got.status != 200 || got.at(t, "data", "version") != 2.0 {
		t.Errorf("write: %d %s", got.status, got.body)
	}
	c.do("POST", "/v1/auth/token/create/r", `{}`).refused(t, 403, textDenied)
	minted := c.do("POST", "/v1/auth/token/create/r", `{}`, "X-Vault-MFA", "corp:"+s.UnusedCode("corp", "alice"))
	c.as(minted.text(t, "auth", "client_token")).do("GET", "/v1/secret/data/guarded", nil).wantStatus(t, 200)
	limited := s.NewToken(TokenSpec{Policies: []string{"guarded"}, Entity: "alice", NumUses: 1})
	c.as(limited).do("GET", "/v1/secret/data/guarded", nil).refused(t, 403, textDenied)
	c.as(limited).do("GET", "/v1/secret/data/guarded", nil).refused(t, 403, textInvalidToken)
}

func TestCodeIsThatOfTheApp(t *testing.T) {
	t.Parallel()
	s, c := newStepUp(t, Config{})
	url, secret, err := s.EnrolTOTP("corp", "alice")
	check(t, err)
	for range 3 {
		want, err := totp.GenerateCode(secret, c.clock.Now())
		check(t, err)
		if got := s.Code("corp", "alice"); got != want {
			t.Errorf("code %s, want %s", got, want)
		}
		c.clock.Add(30 * time.Second)
	}
	if want := "otpauth://totp/Vault:" + s.AddEntity("alice") + "?algorithm=SHA1&digits=6&issuer=Vault&period=30&secret=" + secret; url != want {
		t.Errorf("url %s, want %s", url, want)
	}
	if got := s.Code("corp", "nobody") + s.Code("none", "alice") + s.Code("third", "alice") + s.UnusedCode("third", "alice"); got != "" {
		t.Errorf("a code %q without a seed", got)
	}
}

func TestStepUpPush(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, kind string
		header           []string
		decide           func(*Push)
		status           int
		logged           string
	}{
		{"approved", "phone", "okta", nil, func(p *Push) { p.Approve() }, 200, ""},
		{"approved with a bare name", "phone", "okta", []string{"X-Vault-MFA", "phone"}, func(p *Push) { p.Approve() }, 200, ""},
		{"denied", "phone", "okta", nil, func(p *Push) { p.Deny() }, 403, "push verification explicitly rejected"},
		{"denied with Duo", "phone", "duo", nil, func(p *Push) { p.Deny() }, 403, "duo authentication failed"},
		{"timed out", "phone", "pingid", nil, func(*Push) {}, 403, "push verification timed out"},
		{"after a missing code", "code-and-phone", "okta", nil, nil, 403, "MFA credentials not supplied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s, c := newStepUp(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil)), PushTimeout: 20 * time.Second})
				push := s.AddPushMethod("phone", tt.kind)
				done := c.start("GET", "/v1/secret/data/"+tt.path, nil, tt.header...)
				synctest.Wait()
				if tt.decide == nil {
					if push.Sent() != 0 {
						t.Error("a push was sent although the code was missing")
					}
				} else if push.Pending() != 1 || len(done) != 0 {
					t.Fatalf("%d pushes wait", push.Pending())
				} else {
					tt.decide(push)
				}
				(<-done).wantAnswer(t, tt.status, textDenied)
				if push.Pending() != 0 || !strings.Contains(log.String(), tt.logged) {
					t.Errorf("%d pushes wait, logged %q", push.Pending(), log.String())
				}
			})
		})
	}
}

func TestPushEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepUp(t, Config{})
		push := s.AddPushMethod("phone", "duo")
		ctx, cancel := context.WithCancel(t.Context())
		c.ctx = ctx
		done := c.start("GET", "/v1/secret/data/phone", nil)
		synctest.Wait()
		cancel()
		(<-done).refused(t, 403, textDenied)
		if push.Pending() != 0 || push.Approve() || push.Deny() {
			t.Error("the push still waits")
		}
	})
}

func TestPushesAreDecidedOldestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepUp(t, Config{})
		push := s.AddPushMethod("phone", "okta")
		first, second := make(chan answer, 1), make(chan answer, 1)
		for _, done := range []chan answer{first, second} {
			go func() { done <- c.do("GET", "/v1/secret/data/phone", nil) }()
			synctest.Wait()
		}
		push.Approve()
		push.Deny()
		if a, b := (<-first).status, (<-second).status; a != 200 || b != 403 {
			t.Errorf("first %d, second %d", a, b)
		}
		go func() { first <- c.do("GET", "/v1/secret/data/phone", nil) }()
		synctest.Wait()
		push.Always(true) // those that wait and those that come
		if a, b := (<-first).status, c.do("GET", "/v1/secret/data/phone", nil).status; a != 200 || b != 200 {
			t.Errorf("always: %d, %d", a, b)
		}
		if push.Sent() != 4 {
			t.Errorf("%d pushes were sent", push.Sent())
		}
	})
}

// A token that ends while its push waits does not get its answer: by its last use in another
// request, or by being revoked.
func TestTokenEndsWhileItsPushWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newStepUp(t, Config{})
		push := s.AddPushMethod("phone", "okta")
		start := func(token string) <-chan answer {
			done := c.as(token).start("GET", "/v1/secret/data/phone", nil)
			synctest.Wait()
			return done
		}
		limited := s.NewToken(TokenSpec{Policies: []string{"guarded"}, Entity: "alice", NumUses: 1})
		first, second := start(limited), start(limited)
		push.Approve()
		(<-first).wantStatus(t, 200)
		push.Approve()
		(<-second).refused(t, 403, textInvalidToken)

		revoked := s.CreateToken([]string{"default", "guarded"}, "alice")
		third := start(revoked)
		c.as(revoked).do("POST", "/v1/auth/token/revoke-self", nil).want(t, 204, "")
		push.Approve()
		(<-third).refused(t, 403, textInvalidToken)
	})
}
