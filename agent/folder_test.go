package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/vault-stepup/stepup/agent/listener"
)

// What is removed again while it is made again is made once more: nothing else would notice.
func TestFolderIsRemovedTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := openFolder(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { f.close() }()
	f.watch(nil)
	remove := func() error { return os.Remove(filepath.Join(dir, listener.LockName)) }
	calls := 0
	sockets := func(context.Context) (int, error) {
		if calls++; calls == 1 {
			return 1, remove()
		}
		return 0, nil
	}
	if err := errors.Join(remove(), f.restoreSoon(t.Context(), sockets)); err != nil {
		t.Fatal(err)
	}
	if !f.lock.Intact() {
		t.Errorf("the lock is gone after %d looks", calls)
	}
}
