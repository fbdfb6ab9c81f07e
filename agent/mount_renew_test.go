package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
)

const renewalPushes = "renewing your Okta token sends a push"

// renewal is a prompt that tells of one. There are others for logins that take their
// time.
func renewal(q prompt.Request) bool { return q.Message == renewalPushes }

func TestOktaRenewal(t *testing.T) {
	t.Parallel()
	r := newMountFixture(t)
	token := member(t, r.approved(t, r.later(t, oktaLogin, pw)), "client_token")
	for name, call := range map[string][3]string{
		"self":  {"/v1/auth/token/renew-self", `{"increment":"1h"}`, token},
		"other": {"/v1/auth/token/renew", `{"token":"` + token + `"}`, r.vault.RootToken()},
	} {
		done := r.later(t, call[0], call[1], "X-Vault-Token", call[2])
		q := r.tells(t, renewal) // before the push is over: nobody is told of one that is
		if got := r.approved(t, done); got.status != 200 || q.Kind != prompt.Push || "/v1/"+q.Path != call[0] {
			t.Errorf("%s: %+v, told %+v", name, got, q)
		}
	}
	for _, sent := range r.vault.Requests() {
		if strings.Contains(sent.RawPath, "lookup") {
			t.Error("a token that went through the agent was looked up")
		}
	}
	if got := r.do(t, "PUT", "/v1/auth/token/renew-self", "", "X-Vault-Token", r.token); got.outcome != "" || strings.Contains(got.body, "stepup") {
		t.Errorf("a token of another mount: %+v", got)
	}
	if told := slices.DeleteFunc(r.asked.Requests(), func(q prompt.Request) bool { return !renewal(q) }); len(told) != 2 {
		t.Errorf("told %d times", len(told))
	}
}

// A token that did not come through the agent is looked up, once.
func TestOktaRenewalOfAStranger(t *testing.T) {
	t.Parallel()
	r := newMountFixture(t)
	direct := r.direct()
	r.okta.Always(true)
	token := member(t, direct.do(t, "PUT", oktaLogin, pw), "client_token")
	r.okta.Challenge(5)
	for range 2 {
		got := r.do(t, "PUT", "/v1/auth/token/renew-self", "", "X-Vault-Token", token)
		check(t, got, reply{400, "log in again instead", "unavailable"})
		r.tells(t, renewal)
	}
	r.wantSent(t, "/lookup-self", 1)
}

// approved approves the push of a request that waits, and returns its answer.
func (r *mountFixture) approved(t *testing.T, done <-chan reply) reply {
	t.Helper()
	ringing(t, r.okta)
	r.okta.Approve()
	return <-done
}
