package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/agent/pathwatch"
)

const (
	// restoreTime is how long a runtime folder may be gone. An agent without its control
	// socket can neither be asked nor be locked.
	restoreTime    = 5 * time.Second
	minRestoreWait = 20 * time.Millisecond
)

// A folder is the runtime folder of an agent. Where it, or a socket, is removed under the
// agent, it is made again: logind removes the folder of a user at the end of the last
// session, programs clean up /tmp.
type folder struct {
	path    string
	lock    *listener.RuntimeLock
	watcher *pathwatch.Watcher
	log     *slog.Logger
}

// openFolder locks the folder. The error wraps listener.ErrRunning where another agent has it.
func openFolder(path string, log *slog.Logger) (*folder, error) {
	lock, err := listener.LockRuntimeDir(path)
	if err != nil {
		return nil, err
	}
	listener.SweepSockets(path)
	return &folder{path: path, lock: lock, watcher: pathwatch.New(), log: log}, nil
}

// close ends the lock.
func (f *folder) close() { f.lock.Release() }

// watch replaces the sockets that are watched.
func (f *folder) watch(sockets []string) {
	f.watcher.Watch(append(sockets, filepath.Join(f.path, listener.LockName))...)
}

// keep restores the folder whenever something in it is gone. It returns when ctx ends, and
// with an error where the folder cannot be made again. sockets opens those again that are
// gone, and reports how many were.
func (f *folder) keep(ctx context.Context, sockets func(context.Context) (int, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.watcher.Changed():
		}
		if err := f.restoreSoon(ctx, sockets); err != nil {
			return fmt.Errorf("the runtime folder or a socket was removed, and cannot be made again: %w", err)
		}
	}
}

// restoreSoon tries until nothing is missing, or [restoreTime] is over: at a new login, the
// folder is root's for a moment, and what was made again may be removed again at once.
func (f *folder) restoreSoon(ctx context.Context, sockets func(context.Context) (int, error)) error {
	end := time.Now().Add(restoreTime)
	for wait := minRestoreWait; ; wait *= 2 {
		restored, err := f.restore(ctx, sockets)
		if err == nil && !restored || ctx.Err() != nil {
			return nil
		}
		f.watcher.Look() // else what is gone before the watcher sees it has never been there
		// Another agent has taken the folder meanwhile, and serves.
		if errors.Is(err, listener.ErrRunning) || time.Now().Add(wait).After(end) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *folder) restore(ctx context.Context, sockets func(context.Context) (int, error)) (restored bool, err error) {
	if !f.lock.Intact() {
		lock, err := listener.LockRuntimeDir(f.path)
		if err != nil {
			return false, err
		}
		f.lock.Release()
		f.lock, restored = lock, true
		f.log.Warn("the runtime folder was removed, and is made again", "folder", f.path)
	}
	count, err := sockets(ctx)
	if count > 0 {
		f.log.Warn("sockets were removed, and are opened again", "count", count)
	}
	return restored || count > 0, err
}
