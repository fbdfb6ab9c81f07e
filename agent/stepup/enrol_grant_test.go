package stepup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/vault"
)

// A login grant sets up an authenticator on its way, too: a flight within the
// flight to the token. A request that comes meanwhile joins.
func TestEnrolInALoginGrant(t *testing.T) {
	t.Parallel()
	type test struct {
		takes   time.Duration
		outcome mfa.Outcome
		revoked []string
	}
	run(t, map[string]test{
		"in time":  {20 * time.Second, mfa.Approved, nil},
		"too late": {70 * time.Second, mfa.Timeout, []string{" new"}},
	}, func(t *testing.T, tt test) {
		s, e := newEnrolFixture(t)
		s.vault.login = func(context.Context, vault.LoginRequest) (*http.Response, error) {
			return answer(200, strings.Replace(heldLogin, `"uses_passcode":true`, `"uses_passcode":true,"self_enrollment_enabled":true`, 1)), nil
		}
		s.vault.validate = func(context.Context, map[string][]string) (*http.Response, error) { return minted("new", 300, 0), nil }
		s.person.says(after(0, "pw"), after(tt.takes, "111111"))
		up := &sending{right: "token new"}
		type end struct {
			resp *http.Response
			v    mfa.Verdict
		}
		ends := make(chan end, 2)
		for range 2 {
			go func() {
				resp, v, _ := first(t.Context(), s, secure(), up)
				ends <- end{resp, v}
			}()
		}
		for range 2 {
			if got := <-ends; got.v.Outcome != tt.outcome || tt.outcome == mfa.Approved && got.resp.StatusCode != 200 {
				t.Errorf("%+v", got.v)
			}
		}
		pass(time.Minute)
		if d := cmp.Diff(tt.revoked, e.revoked); d != "" || len(e.made) != 1 {
			t.Errorf("made %q, revoked: %s", e.made, d)
		}
	})
}
