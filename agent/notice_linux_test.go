package agent_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/agent/notice"
	"github.com/vault-stepup/stepup/prompt"
)

// A shower is a desktop that shows uses, and asks nothing.
type shower struct {
	shown chan prompt.Request
	press chan struct{}
}

func (s shower) Prompt(context.Context, prompt.Request) (string, error) {
	return "", prompt.ErrUnavailable
}

func (s shower) ShowUse(ctx context.Context, r prompt.Request) (bool, error) {
	s.shown <- r
	select {
	case <-s.press:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// The first use of a step-up by another program is shown, and Lock ends that step-up alone.
func TestUseByAnotherProgram(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	const web = "kv/data/deploy/web"
	s := shower{make(chan prompt.Request, 9), make(chan struct{})}
	r := withTokens(t, newFixtureAt(t, devvault.Enterprise, nil))
	r.change(t, func(c *agent.Config) {
		c.Prompt.Notify = notice.First
		c.Prompt.Prompters = append(c.Prompt.Prompters, prompt.Named{Name: "notification", Prompter: s})
	})
	r.wantOutcomes(t, web, "approved", "cached")
	r.wantOutcomes(t, "kv/data/secure/db", "approved")
	// curl has not ended when it is looked at: its second request waits for that.
	seen := make(chan struct{})
	second := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-seen }))
	t.Cleanup(second.Close)
	cmd := exec.CommandContext(t.Context(), "curl", "-s", "-H", "X-Vault-Token: "+r.token, r.url+"/v1/"+web, second.URL)
	must(t, cmd.Start())
	var q prompt.Request
	select {
	case q = <-s.shown:
	case <-time.After(time.Minute):
		t.Error("nothing is shown")
	}
	close(seen)
	must(t, cmd.Wait())
	if q.Rule != "deploy" || q.Path != web || q.Operation != "read" || q.Vault != "corp" || len(q.Requester.Chain) == 0 || q.Requester.Chain[0] != "curl" {
		t.Errorf("shown %+v", q)
	}
	s.press <- struct{}{}
	eventually(t, "the step-up ends", func() bool {
		left := r.agent.Status(t.Context()).Tokens
		return len(left) == 1 && left[0].Rule == "secure"
	})
	if len(s.shown) > 0 {
		t.Errorf("shown too: %+v", <-s.shown)
	}
}
