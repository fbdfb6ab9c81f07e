package keyring_test

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cache/cachetest"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A cleanKernel leaves nothing in the keyring of the kernel.
type cleanKernel struct {
	keyring.Kernel
	t *testing.T
}

func (k cleanKernel) Set(ctx context.Context, name string, value secret.Secret) error {
	k.clean(name)
	return k.Kernel.Set(ctx, name, value)
}

func (k cleanKernel) SetUntil(ctx context.Context, name string, value secret.Secret, end time.Time) error {
	k.clean(name)
	return k.Kernel.SetUntil(ctx, name, value, end)
}

func (k cleanKernel) clean(name string) {
	k.t.Cleanup(func() { _ = k.Delete(context.Background(), name) })
}

func TestKernel(t *testing.T) {
	t.Parallel()
	k := cleanKernel{t: t}
	name := "test-" + keyring.Name(t.Name(), time.Now().String())
	if err := k.Set(t.Context(), name, "hvs.SECRET"); err != nil {
		// A container has none, and says so.
		if got := (*keyring.Error)(nil); !errors.As(err, &got) || got.Condition != keyring.Missing {
			t.Error(err)
		}
		return
	}
	t.Run("suite", func(t *testing.T) {
		cachetest.Run(t, func(t *testing.T) cache.Store {
			return cache.NewPersistent(cache.PersistentConfig{Keyring: cleanKernel{t: t}, Scope: t.Name() + time.Now().String()})
		})
	})
	t.Run("a process with another session reads it", func(t *testing.T) {
		if got := inSession(t, "child-kernel", name); got != "hvs.SECRET" {
			t.Errorf("it reads %q", got)
		}
	})
	t.Run("nothing reaches it by its number alone", func(t *testing.T) {
		id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", "stepup:"+name, 0)
		must(t, err)
		if _, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, make([]byte, 100), 0); err == nil {
			about, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id) // this session leads to it
			if err != nil || !strings.Contains(about, ";3f000000;") {
				t.Errorf("it is %q, error %v", about, err)
			}
		}
	})
	t.Run("it ends by itself", func(t *testing.T) {
		must(t, k.SetUntil(t.Context(), name, "hvs.SECOND", time.Now()))
		for {
			_, err := k.Get(t.Context(), name)
			if errors.Is(err, keyring.ErrNotFound) {
				return
			}
			must(t, err)
			runtime.Gosched()
		}
	})
	t.Run("too large", func(t *testing.T) {
		if err := k.Set(t.Context(), name, secret.Secret(strings.Repeat("x", 1<<20))); err == nil {
			t.Error("a megabyte is taken")
		}
	})
	must(t, k.Delete(t.Context(), name))
	must(t, k.Delete(t.Context(), name))
}

// inSession runs this program in a role with a session keyring of its own, as a service
// of systemd has one.
func inSession(t *testing.T, role, name string) string {
	t.Helper()
	type result struct {
		out []byte
		err error
	}
	results := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its session
		if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
			results <- result{err: err}
			return
		}
		command := asChild(role, name)
		out, err := exec.Command(command[0], command[1:]...).Output()
		results <- result{out, err}
	}()
	r := <-results
	must(t, r.err)
	return string(r.out)
}
