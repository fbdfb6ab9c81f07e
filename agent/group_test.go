package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// newGroupFixture is a fixture whose kv/data/pay/* must be approved by abby; alice and
// carol may ask. timeout is the rule's.
func newGroupFixture(t *testing.T, timeout time.Duration) (r *fixture, carol string) {
	t.Helper()
	return newGroupFixtureOf(t, devvault.Enterprise, timeout)
}

func newGroupFixtureOf(t *testing.T, flavor devvault.Flavor, timeout time.Duration) (r *fixture, carol string) {
	t.Helper()
	r = newFixtureAt(t, flavor, nil)
	r.vault.AddEntity("abby")
	r.vault.AddPolicy("pay", devvault.PathRule{
		Path: "kv/data/pay/*", Capabilities: []string{"create", "read", "update"},
		ControlGroup: &devvault.ControlGroup{Factors: []devvault.GroupFactor{{Members: []string{"abby"}}}},
	})
	must(t, r.vault.PutSecret("kv/pay/roll", map[string]any{"salary": "1"}))
	r.token = r.vault.CreateToken([]string{"default", "pay"}, "alice")
	r.config.Rules = append(r.config.Rules, rule.Rule{
		Name: "pay", Paths: patterns("kv/data/pay/*"), ControlGroup: rule.ControlGroup{Timeout: timeout, Approvers: "abby"},
	})
	r.reload(t, r.config)
	return r, r.vault.CreateToken([]string{"default", "pay"}, "carol")
}

// waits gives the rule another timeout.
func (r *fixture) waits(t *testing.T, timeout time.Duration) {
	t.Helper()
	r.change(t, func(c *agent.Config) { c.Rules[len(c.Rules)-1].ControlGroup.Timeout = timeout })
}

// approveHeld is abby, who approves the n-th request.
func (r *fixture) approveHeld(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, r.vault.WaitHeld(ctx, n))
	held := r.vault.HeldRequests()
	must(t, r.vault.Authorize(held[len(held)-1].Accessor, "abby"))
}

func TestControlGroupApproved(t *testing.T) {
	t.Parallel()
	r, _ := newGroupFixture(t, time.Minute)
	told := r.seen()
	done := later(func() reply {
		return r.do(t, "PUT", "/v1/kv/data/pay/roll", `{"data":{"salary":"2"}}`, "X-Vault-Token", r.token)
	})
	q := wait(t, told)
	accessor := r.vault.HeldRequests()[0].Accessor
	if q.Kind != prompt.Push || q.MethodType != prompt.ControlGroup || !strings.Contains(q.Message, "accessor="+accessor+"; ask abby") {
		t.Errorf("told %+v", q)
	}
	r.approveHeld(t, 1)
	check(t, <-done, reply{200, `"version":2`, "approved"})
	if n := len(r.vault.HeldRequests()); n != 0 {
		t.Errorf("%d requests are still held", n)
	}
}

// The first try ends before an approval; the second has the answer of the same request.
// Another caller needs an approval of its own, and so does a wrapped request.
func TestControlGroupNextTry(t *testing.T) {
	t.Parallel()
	r, carol := newGroupFixture(t, 50*time.Millisecond)
	const roll = "kv/data/pay/roll"
	first := r.read(t, roll)
	check(t, first, reply{200, `"wrap_info":{"token":"hvs.`, "timeout"})
	check(t, first, reply{200, "stepup: nobody has approved", "timeout"})
	r.approveHeld(t, 1)
	if got := r.as(carol).read(t, roll); got.outcome != "timeout" || strings.Contains(got.body, "salary") {
		t.Errorf("another caller: %+v", got)
	}
	if got := r.read(t, roll, "X-Vault-Wrap-TTL", "60s"); got.outcome != "" || strings.Contains(got.body, "salary") {
		t.Errorf("wrapped: %+v", got)
	}
	r.waits(t, time.Minute)
	check(t, r.read(t, roll), reply{200, `"salary":"1"`, "approved"})
	r.waits(t, 50*time.Millisecond)
	r.wantOutcomes(t, roll, "timeout") // a new approval is needed
}

// Giving up leaves Vault's answer as it is: its wrapping token still works.
func TestControlGroupGivenUp(t *testing.T) {
	t.Parallel()
	r, _ := newGroupFixture(t, time.Minute)
	r.person = deny
	got := r.read(t, "kv/data/pay/roll")
	check(t, got, reply{200, "given up here", "denied"})
	r.approveHeld(t, 1)
	opened := r.do(t, "PUT", "/v1/sys/wrapping/unwrap", `{"token":"`+member(t, got, "token")+`"}`, "X-Vault-Token", r.token)
	check(t, opened, reply{200, `"salary":"1"`, ""})
}

// The agent stops at once, however long a rule waits.
func TestControlGroupStops(t *testing.T) {
	t.Parallel()
	r, _ := newGroupFixture(t, time.Hour)
	told := r.seen()
	done := later(func() reply { return r.read(t, "kv/data/pay/roll") })
	wait(t, told)
	_, err := r.control().Lock(t.Context())
	must(t, err)
	check(t, <-done, reply{200, "stepup lock", "denied"})
}

// OpenBao's policy default does not let the requester ask about the approval.
func TestControlGroupOfOpenBao(t *testing.T) {
	t.Parallel()
	r, carol := newGroupFixtureOf(t, devvault.OpenBao, time.Minute)
	got := r.do(t, "GET", "/v1/kv/data/pay/roll", "", "X-Vault-Token", carol)
	if got.status != 200 || !strings.Contains(got.body, `"wrap_info":{`) || !strings.Contains(got.body, "a policy of yours has to grant update on sys/control-group/request") {
		t.Errorf("without the right: %d %s", got.status, got.body)
	}
	r.vault.AddPolicy("ask", devvault.PathRule{Path: "sys/control-group/request", Capabilities: []string{"update"}})
	may := r.vault.CreateToken([]string{"default", "pay", "ask"}, "alice")
	done := later(func() reply { return r.do(t, "GET", "/v1/kv/data/pay/roll", "", "X-Vault-Token", may) })
	r.approveHeld(t, 2)
	if got := wait(t, done); got.status != 200 || !strings.Contains(got.body, `"salary":"1"`) {
		t.Errorf("with it: %d %s", got.status, got.body)
	}
}
