//go:build unix

package listener

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vault-stepup/stepup/ownership"
)

// A runtime folder is refused, and nothing made in it, if a second user could change a
// folder above it: they would put another in its place, with sockets of theirs.
func TestRuntimeFolderBelowOthers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		mode os.FileMode
		user int
		safe bool
	}{
		"ours":                       {0o755, -1, true},
		"shared like /tmp":           {0o777 | os.ModeSticky, -1, true},
		"every user may write":       {0o777, -1, false},
		"a second user's":            {0o755, 65534, false},
		"a second user's, like /tmp": {0o777 | os.ModeSticky, 65534, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := filepath.Join(privateTempDir(t), "above")
			must(t, os.Mkdir(above, 0o700))
			if os.Lchown(above, tt.user, -1) != nil {
				t.Skip("needs root, to give a folder away")
			}
			must(t, os.Chmod(above, tt.mode))
			dir := filepath.Join(above, "run")
			release, err := LockRuntimeDir(dir)
			if err == nil {
				release.Release()
			}
			var unsafe *ownership.Unsafe
			found := errors.As(err, &unsafe) && errors.Is(err, ErrUnsafe)
			if tt.safe && err != nil || !tt.safe && (!found || unsafe.Part != above) {
				t.Errorf("error %v", err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "agent.lock")); (err == nil) != tt.safe {
				t.Errorf("lock file: %v", err)
			}
			ln, err := Listen(t.Context(), "unix", filepath.Join(dir, "s"))
			if (err == nil) != tt.safe || err != nil && !errors.Is(err, ErrUnsafe) {
				t.Errorf("Listen: %v", err)
			}
			if err == nil {
				_ = ln.Close()
			}
		})
	}
}
