package agent_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/cache/cachetest"
)

// A keyring that hangs does not hold up a lock: what is in memory is served no
// longer while the lock still waits for it.
func TestLockWhileTheKeyringHangs(t *testing.T) {
	t.Parallel()
	var hangs atomic.Bool
	hanging, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(hanging) })
	r := newFixtureAt(t, devvault.Enterprise, &cachetest.Keyring{Before: func(ctx context.Context, _, _ string) error {
		if !hangs.Load() {
			return nil
		}
		once()
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	r.config.Cache.Store = agent.StoreKeyring
	withTokens(t, r)
	read := func(outcomes ...string) {
		t.Helper()
		r.wantOutcomes(t, "kv/data/deploy/web", outcomes...)
		r.wantOutcomes(t, "kv/data/secure/db", outcomes...)
	}
	read("approved", "cached")
	r.person = deny
	hangs.Store(true)
	locked := make(chan control.LockResult, 1)
	go func() {
		result, err := r.control().Lock(t.Context())
		if err != nil {
			t.Error(err)
		}
		locked <- result
	}()
	wait(t, hanging)
	read("denied")
	hangs.Store(false)
	close(release)
	if result := <-locked; result.Forgotten != 2 || result.Revoked != 2 {
		t.Errorf("%+v", result)
	}
}

// Nor does a step-up that takes its time to end: what is in memory is served no
// longer while the lock waits for it.
func TestLockWhileAStepUpHangs(t *testing.T) {
	t.Parallel()
	hanging, release := make(chan struct{}), make(chan struct{})
	once, free := sync.OnceFunc(func() { close(hanging) }), sync.OnceFunc(func() { close(release) })
	r := newFixtureAt(t, devvault.Enterprise, &cachetest.Keyring{Before: func(_ context.Context, _, item string) error {
		if strings.HasPrefix(item, "password-") {
			once()
			<-release
		}
		return nil
	}})
	t.Cleanup(free) // before the agent ends
	withTokens(t, r)
	r.config.Rules[1].Grant.Password = "keyring"
	r.reload(t, r.config)
	read := func(path string) string {
		return r.do(t, "GET", "/v1/kv/data/"+path, "", "X-Vault-Token", r.token).outcome
	}
	if got := read("deploy/web") + " " + read("deploy/web"); got != "approved cached" {
		t.Fatal(got)
	}
	r.person = deny
	var working sync.WaitGroup
	working.Go(func() {
		if got := read("secure/db"); got != "denied" {
			t.Errorf("the step-up: %s", got)
		}
	})
	wait(t, hanging)
	working.Go(func() {
		result, err := r.control().Lock(t.Context())
		if err != nil || result.Forgotten != 1 || result.Revoked != 1 {
			t.Errorf("%+v, %v", result, err)
		}
	})
	eventually(t, "the token is served no longer", func() bool { return read("deploy/web") != "cached" })
	free()
	working.Wait()
}
