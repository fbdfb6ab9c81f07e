package agent_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// newEnrolFixture has bob, who has no secret for the method of his login at stepup, and
// a Vault that offers to make one.
func newEnrolFixture(t *testing.T) *fixture {
	t.Helper()
	r := newFixture(t)
	r.vault.AddUser("stepup", "bob", "pw", "prod")
	must(t, r.vault.AllowSelfEnrolment("corp"))
	return r
}

func (r *fixture) loginAsBob(t *testing.T) reply {
	t.Helper()
	return r.do(t, "POST", "/v1/auth/stepup/login/bob", pw)
}

func TestSelfEnrolment(t *testing.T) {
	t.Parallel()
	r := newEnrolFixture(t)
	var mu sync.Mutex
	var shown []string
	r.person = func(_ context.Context, q prompt.Request) (string, error) {
		if q.Kind == prompt.Confirm {
			return "yes", nil
		}
		mu.Lock()
		defer mu.Unlock()
		shown = append(shown, q.Enrolment.Secret.Reveal())
		if len(shown) == 1 {
			return "00000", nil // one digit is missing
		}
		return r.vault.UnusedCode("corp", "bob"), nil
	}
	check(t, r.loginAsBob(t), reply{200, `"client_token":"hvs.`, "approved"})
	mu.Lock()
	defer mu.Unlock()
	if len(shown) != 2 || shown[0] != shown[1] || len(shown[0]) != 32 {
		t.Errorf("%d secrets were shown", len(shown))
	}
	r.wantSent(t, "/totp/self-enroll", 1)
	log, err := os.ReadFile(r.config.Audit.File)
	if err != nil || !strings.Contains(string(log), `"event":"enrolled"`) || strings.Contains(string(log), shown[0]) {
		t.Errorf("audit log: %s, %v", log, err)
	}
}

// The person needs longer than the app waits: what they finish then counts, leaves
// no token behind, and the next login asks for a code like any other.
func TestSelfEnrolmentOutlivesItsApp(t *testing.T) {
	t.Parallel()
	r := newEnrolFixture(t)
	r.config.Prompt.Timeout = 15 * time.Second // the confirmation must be through by then
	r.reload(t, r.config)
	scanned := make(chan struct{})
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		switch {
		case q.Kind == prompt.Confirm:
			return "yes", nil
		case q.Enrolment != nil:
			select {
			case <-scanned:
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		return r.vault.UnusedCode("corp", "bob"), nil
	}
	check(t, r.loginAsBob(t), reply{403, "still being set up", "timeout"})
	close(scanned)
	eventually(t, "the token without an app is revoked", func() bool { return r.sent("/revoke-self") > 0 })
	check(t, r.loginAsBob(t), reply{200, "", "approved"})
	r.wantSent(t, "/totp/self-enroll", 1)
}
