package agent_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/prompt"
)

// A keyring that hangs does not hold up a lock: what is in memory is served no
// longer while the lock still waits for it.
func TestLockWhileTheKeyringHangs(t *testing.T) {
	t.Parallel()
	var hangs atomic.Bool
	hanging, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(hanging) })
	r := newRigWith(t, &cachetest.Keyring{Before: func(ctx context.Context, _, _ string) error {
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
	read := func(want string) {
		t.Helper()
		for _, path := range []string{"kv/data/deploy/web", "kv/data/secure/db"} {
			if got := r.do(t, "GET", "/v1/"+path, "", "X-Vault-Token", r.token); got.outcome != want {
				t.Errorf("%s: %+v, want %s", path, got, want)
			}
		}
	}
	read("approved")
	read("cached")
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	hangs.Store(true)
	locked := make(chan control.LockResult, 1)
	go func() {
		result, err := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket)).Lock(t.Context())
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
	r := newRigWith(t, &cachetest.Keyring{Before: func(_ context.Context, _, item string) error {
		if strings.HasPrefix(item, "password-") {
			once()
			<-release
		}
		return nil
	}})
	t.Cleanup(free) // before the agent ends
	withTokens(t, r)
	r.config.Rules[1].Grant.Password = "keyring"
	if err := r.agent.Reload(t.Context(), r.config); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		return r.do(t, "GET", "/v1/kv/data/"+path, "", "X-Vault-Token", r.token).outcome
	}
	if got := read("deploy/web") + " " + read("deploy/web"); got != "approved cached" {
		t.Fatal(got)
	}
	r.person = func(context.Context, prompt.Request) (string, error) { return "", prompt.ErrDenied }
	var working sync.WaitGroup
	working.Go(func() {
		if got := read("secure/db"); got != "denied" {
			t.Errorf("the step-up: %s", got)
		}
	})
	wait(t, hanging)
	working.Go(func() {
		result, err := control.NewClient(filepath.Join(r.dir, "run", agent.ControlSocket)).Lock(t.Context())
		if err != nil || result.Forgotten != 1 || result.Revoked != 1 {
			t.Errorf("%+v, %v", result, err)
		}
	})
	eventually(t, "the token is served no longer", func() bool { return read("deploy/web") != "cached" })
	free()
	working.Wait()
}
