package agent_test

import (
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/prompt"
)

const renewalPushes = "renewing your Okta token sends a push"

// renewal is what the person is told of one; what they are told of logins that take
// their time does not count.
func (r *mountRig) renewal(t *testing.T) prompt.Request {
	t.Helper()
	for {
		if q := r.hears(t); q.Message == renewalPushes {
			return q
		}
	}
}

func TestOktaRenewal(t *testing.T) {
	t.Parallel()
	r := newMountRig(t)
	r.okta.Always(true)
	token := tokenOf(t, r.do(t, "PUT", oktaLogin, pw))
	for name, renewal := range map[string][3]string{
		"self":  {"/v1/auth/token/renew-self", `{"increment":"1h"}`, token},
		"other": {"/v1/auth/token/renew", `{"token":"` + token + `"}`, r.vault.RootToken()},
	} {
		got := r.do(t, "PUT", renewal[0], renewal[1], "X-Vault-Token", renewal[2])
		if q := r.renewal(t); got.status != 200 || q.Kind != prompt.Push || "/v1/"+q.Path != renewal[0] {
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
	told := 0
	for _, q := range r.asked.Requests() {
		if q.Message == renewalPushes {
			told++
		}
	}
	if told != 2 {
		t.Errorf("told %d times", told)
	}
}

// A token that did not come through the agent is looked up, once.
func TestOktaRenewalOfAStranger(t *testing.T) {
	t.Parallel()
	r := newMountRig(t)
	direct := *r.rig
	direct.url = "http://" + r.config.Vaults[0].Address.Host
	r.okta.Always(true)
	token := tokenOf(t, direct.do(t, "PUT", oktaLogin, pw))
	r.okta.Challenge(5)
	for range 2 {
		got := r.do(t, "PUT", "/v1/auth/token/renew-self", "", "X-Vault-Token", token)
		if got.status != 400 || got.outcome != "unavailable" || !strings.Contains(got.body, "log in again instead") {
			t.Errorf("%+v", got)
		}
		r.renewal(t)
	}
	lookups := 0
	for _, sent := range r.vault.Requests() {
		if strings.Contains(sent.RawPath, "lookup-self") {
			lookups++
		}
	}
	if lookups != 1 {
		t.Errorf("%d lookups", lookups)
	}
}
