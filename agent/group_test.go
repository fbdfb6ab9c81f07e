package agent_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/prompt"
)

// newGroupRig is a rig whose kv/data/pay/* must be approved by abby; alice and
// carol may ask. timeout is the rule's.
func newGroupRig(t *testing.T, timeout time.Duration) (r *rig, carol string) {
	t.Helper()
	r = newRig(t)
	r.vault.AddEntity("abby")
	r.vault.AddPolicy("pay", devvault.PathRule{
		Path: "kv/data/pay/*", Capabilities: []string{"create", "read", "update"},
		ControlGroup: &devvault.ControlGroup{Factors: []devvault.GroupFactor{{Members: []string{"abby"}}}},
	})
	if err := r.vault.PutSecret("kv/pay/roll", map[string]any{"salary": "1"}); err != nil {
		t.Fatal(err)
	}
	r.token = r.vault.CreateToken([]string{"default", "pay"}, "alice")
	p, err := rule.ParsePattern("kv/data/pay/*")
	if err != nil {
		t.Fatal(err)
	}
	r.config.Rules = append(r.config.Rules, rule.Rule{
		Name: "pay", Paths: []rule.Pattern{p}, ControlGroup: rule.ControlGroup{Timeout: timeout, Approvers: "abby"},
	})
	r.waits(t, timeout)
	return r, r.vault.CreateToken([]string{"default", "pay"}, "carol")
}

// waits gives the rule another timeout.
func (r *rig) waits(t *testing.T, timeout time.Duration) {
	t.Helper()
	r.config.Rules = slices.Clone(r.config.Rules) // the agent has the old ones
	r.config.Rules[len(r.config.Rules)-1].ControlGroup.Timeout = timeout
	if err := r.agent.Reload(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
}

// approveHeld is abby, who approves the n-th request.
func (r *rig) approveHeld(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := r.vault.WaitHeld(ctx, n); err != nil {
		t.Fatal(err)
	}
	held := r.vault.HeldRequests()
	if err := r.vault.Authorize(held[len(held)-1].Accessor, "abby"); err != nil {
		t.Fatal(err)
	}
}

func TestControlGroupApproved(t *testing.T) {
	t.Parallel()
	r, _ := newGroupRig(t, time.Minute)
	told := make(chan prompt.Request, 4)
	r.person = func(ctx context.Context, q prompt.Request) (string, error) {
		told <- q
		<-ctx.Done()
		return "", ctx.Err()
	}
	done := make(chan reply, 1)
	go func() {
		done <- r.do(t, "PUT", "/v1/kv/data/pay/roll", `{"data":{"salary":"2"}}`, "X-Vault-Token", r.token)
	}()
	q := <-told
	accessor := r.vault.HeldRequests()[0].Accessor
	if q.Kind != prompt.Push || q.MethodType != prompt.ControlGroup || !strings.Contains(q.Message, "accessor="+accessor+"; ask abby") {
		t.Errorf("told %+v", q)
	}
	r.approveHeld(t, 1)
	if got := <-done; got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, `"version":2`) {
		t.Errorf("%+v", got)
	}
	if n := len(r.vault.HeldRequests()); n != 0 {
		t.Errorf("%d requests are still held", n)
	}
}

// The first try ends before anybody approves; the second has the answer of the
// same request. Another caller has to have its own approved, and so has who wants
// it wrapped.
func TestControlGroupNextTry(t *testing.T) {
	t.Parallel()
	r, carol := newGroupRig(t, 50*time.Millisecond)
	read := func(token string, header ...string) reply {
		return r.do(t, "GET", "/v1/kv/data/pay/roll", "", append([]string{"X-Vault-Token", token}, header...)...)
	}
	first := read(r.token)
	if first.status != 200 || first.outcome != "timeout" || !strings.Contains(first.body, `"wrap_info":{"token":"hvs.`) || !strings.Contains(first.body, "stepup: nobody has approved") {
		t.Errorf("first: %+v", first)
	}
	r.approveHeld(t, 1)
	if got := read(carol); got.outcome != "timeout" || strings.Contains(got.body, "salary") {
		t.Errorf("another caller: %+v", got)
	}
	if got := read(r.token, "X-Vault-Wrap-TTL", "60s"); got.outcome != "" || strings.Contains(got.body, "salary") {
		t.Errorf("wrapped: %+v", got)
	}
	r.waits(t, time.Minute)
	if got := read(r.token); got.status != 200 || got.outcome != "approved" || !strings.Contains(got.body, `"salary":"1"`) {
		t.Errorf("next try: %+v", got)
	}
	r.waits(t, 50*time.Millisecond)
	if got := read(r.token); got.outcome != "timeout" {
		t.Errorf("and after that a new one is needed: %+v", got)
	}
}

// Giving up leaves Vault's answer as it is: its wrapping token still works.
func TestControlGroupGivenUp(t *testing.T) {
	t.Parallel()
	r, _ := newGroupRig(t, time.Minute)
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	got := r.do(t, "GET", "/v1/kv/data/pay/roll", "", "X-Vault-Token", r.token)
	if got.status != 200 || got.outcome != "denied" || !strings.Contains(got.body, "given up here") {
		t.Fatalf("%+v", got)
	}
	_, rest, _ := strings.Cut(got.body, `"token":"`)
	wrapping, _, _ := strings.Cut(rest, `"`)
	r.approveHeld(t, 1)
	opened := r.do(t, "PUT", "/v1/sys/wrapping/unwrap", `{"token":"`+wrapping+`"}`, "X-Vault-Token", r.token)
	if opened.status != 200 || !strings.Contains(opened.body, `"salary":"1"`) {
		t.Errorf("unwrapped: %+v", opened)
	}
}

// The agent stops at once, however long a rule waits.
func TestControlGroupStops(t *testing.T) {
	t.Parallel()
	r, _ := newGroupRig(t, time.Hour)
	told := make(chan struct{}, 4)
	r.person = func(ctx context.Context, _ prompt.Request) (string, error) {
		told <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	}
	done := make(chan reply, 1)
	go func() { done <- r.do(t, "GET", "/v1/kv/data/pay/roll", "", "X-Vault-Token", r.token) }()
	wait(t, told)
	if _, err := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket)).Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.status != 200 || got.outcome != "denied" || !strings.Contains(got.body, "stepup lock") {
		t.Errorf("%+v", got)
	}
}
