package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A RuntimeLock is the lock of a runtime folder.
type RuntimeLock struct {
	name    string
	file    *os.File
	release func()
}

// LockRuntimeDir makes dir a folder for this user alone (it is created if it is
// missing, and its mode set to 0700) and locks it for this process. One agent
// runs in a runtime folder: if there is one, the error wraps ErrRunning and
// names its process. The lock ends with Release, or with the process.
func LockRuntimeDir(dir string) (*RuntimeLock, error) {
	if err := privateFolder(dir); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, LockName)
	f, err := openLock(name)
	if err != nil {
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if errors.Is(err, ErrRunning) {
			return nil, fmt.Errorf("%w%s in %s", ErrRunning, lockedBy(f), dir)
		}
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	// The file stays when the lock ends: removing it would let two agents lock
	// two files of the same name.
	l := &RuntimeLock{name: name, file: f, release: sync.OnceFunc(func() {
		_ = f.Truncate(0)
		unlockFile(f)
		_ = f.Close()
	})}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		l.Release()
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	return l, nil
}

// Release ends the lock. It may be called more than once.
func (l *RuntimeLock) Release() { l.release() }

// Intact reports whether the lock still keeps other agents away: its file was not removed,
// nor the folder.
func (l *RuntimeLock) Intact() bool {
	ours, err := l.file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(l.name)
	return err == nil && os.SameFile(ours, now)
}

// LockName is the name of the file in a runtime folder that an agent holds locked.
const LockName = "agent.lock"

// LockHolder returns the number of the process that has locked dir, 0 where none has. It
// connects to nothing: that could start an agent.
func LockHolder(dir string) int {
	f, err := os.Open(filepath.Join(dir, LockName))
	if err != nil {
		return 0
	}
	defer f.Close()
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || !locked(f) { // an agent that was killed has left its number
		return 0
	}
	return pid
}

// lockedBy returns the holder of the lock as text, "" while the holder writes it.
func lockedBy(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

// PrivateDir makes a folder for an agent of one command inside the runtime
// folder. Others can neither enter nor replace it. The caller removes it; those that
// were left behind by a kill are removed by the next call.
func PrivateDir(runtimeDir string) (string, error) {
	if err := privateFolder(runtimeDir); err != nil {
		return "", err
	}
	sweepPrivateDirs(runtimeDir)
	dir, err := os.MkdirTemp(runtimeDir, privateDirPrefix) // 0700
	if err != nil {
		return "", fmt.Errorf("runtime folder: %w", err)
	}
	return dir, nil
}

const (
	privateDirPrefix    = "exec-"
	privateSocketPrefix = "private-" // of the sockets of private listeners
	// A folder that is younger may belong to an agent that is about to lock it.
	sweepAge = time.Minute
)

// sweepPrivateDirs removes the folders of agents that were killed.
func sweepPrivateDirs(runtimeDir string) {
	old, _ := filepath.Glob(filepath.Join(runtimeDir, privateDirPrefix+"*")) // its one error is a bad pattern
	for _, dir := range old {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		lock, err := LockRuntimeDir(dir)
		if err != nil {
			continue // its agent is alive
		}
		_ = os.RemoveAll(dir)
		lock.Release()
	}
}

// SweepSockets removes the sockets of private listeners that a killed agent has
// left in a runtime folder which this process has locked.
func SweepSockets(runtimeDir string) {
	old, _ := filepath.Glob(filepath.Join(runtimeDir, privateSocketPrefix+"*.sock")) // its one error is a bad pattern
	for _, path := range old {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
			_ = os.Remove(path)
		}
	}
}

// PrivateSocket returns the path of a private listener's socket. Part of the id is
// enough for a name, and the path of a socket has little room.
func PrivateSocket(runtimeDir, id string) string {
	return filepath.Join(runtimeDir, privateSocketPrefix+id[:8]+".sock")
}
