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

// newEnrolRig has bob, who has no secret for the method of his login at stepup, and
// a Vault that offers to make one.
func newEnrolRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.vault.AddUser("stepup", "bob", "pw", "prod")
	if err := r.vault.AllowSelfEnrolment("corp"); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) loginAsBob(t *testing.T) reply {
	t.Helper()
	return r.do(t, "POST", "/v1/auth/stepup/login/bob", `{"password":"pw"}`)
}

// sent counts the requests of the agent to a path.
func (r *rig) sent(path string) (n int) {
	for _, q := range r.vault.Requests() {
		if strings.HasSuffix(q.RawPath, path) {
			n++
		}
	}
	return n
}

func TestSelfEnrolment(t *testing.T) {
	t.Parallel()
	r := newEnrolRig(t)
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
	if got := r.loginAsBob(t); got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, `"client_token":"hvs.`) {
		t.Fatalf("%+v", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(shown) != 2 || shown[0] != shown[1] || len(shown[0]) != 32 {
		t.Errorf("%d secrets were shown", len(shown))
	}
	if n := r.sent("/totp/self-enroll"); n != 1 {
		t.Errorf("%d secrets were made", n)
	}
	log, err := os.ReadFile(r.config.Audit.File)
	if err != nil || !strings.Contains(string(log), `"event":"enrolled"`) || strings.Contains(string(log), shown[0]) {
		t.Errorf("audit log: %s, %v", log, err)
	}
}

// The person needs longer than the app waits: what they finish then counts, leaves
// no token behind, and the next login asks for a code like any other.
func TestSelfEnrolmentOutlivesItsApp(t *testing.T) {
	t.Parallel()
	r := newEnrolRig(t)
	r.config.Prompt.Timeout = 15 * time.Second // the confirmation must be through by then
	if err := r.agent.Reload(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
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
	if got := r.loginAsBob(t); got.status != 403 || got.outcome != "timeout" || !strings.Contains(got.body, "still being set up") {
		t.Fatalf("%+v", got)
	}
	close(scanned)
	for end := time.Now().Add(30 * time.Second); r.sent("/revoke-self") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the token that nobody waits for is not revoked")
		}
	}
	if got := r.loginAsBob(t); got.status != 200 || got.outcome != "approved" {
		t.Errorf("the next login: %+v", got)
	}
	if n := r.sent("/totp/self-enroll"); n != 1 {
		t.Errorf("%d secrets were made", n)
	}
}
