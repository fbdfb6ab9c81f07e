package agent_test

import (
	"context"
	"path/filepath"
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
	r := newRigWith(t, &cachetest.Ring{Before: func(ctx context.Context, _, _ string) error {
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
	r.config.Cache.Keyring = true
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
