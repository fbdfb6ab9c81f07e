//go:build !windows

package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestListenTCP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, host string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"127.0.0.2:0", "127.0.0.2"},
		{"[::1]:0", "::1"},
		{"localhost:0", "127.0.0.1"},
		{"[::ffff:127.0.0.1]:0", "127.0.0.1"},
		{"0.0.0.0:0", ""},
		{"[::]:0", ""},
		{":0", ""},
		{"192.0.2.1:0", ""},
		{"[::ffff:0.0.0.0]:0", ""},
		{"vault.example:0", ""},
		{"localhost.example:0", ""},
		{"2130706433:0", ""},
	} {
		t.Run(tt.address, func(t *testing.T) {
			t.Parallel()
			ln, err := Listen(t.Context(), "tcp", tt.address)
			if err == nil {
				defer ln.Close()
			}
			if tt.host == "" {
				if !errors.Is(err, ErrUnsafe) {
					t.Errorf("Listen = %v, want %v", err, ErrUnsafe)
				}
				return
			}
			if errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Skipf("needs an address that the loopback interface lacks: %v", err) // macOS has 127.0.0.1 alone
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := ln.Addr().(*net.TCPAddr).IP.String(); got != tt.host {
				t.Errorf("address = %s, want %s", got, tt.host)
			}
		})
	}
	for _, bad := range []struct{ network, address string }{{"tcp", "127.0.0.1"}, {"udp", "127.0.0.1:0"}, {"", ""}} {
		if ln, err := Listen(t.Context(), bad.network, bad.address); err == nil {
			_ = ln.Close()
			t.Errorf("Listen(%q, %q) succeeded", bad.network, bad.address)
		}
	}
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestListenUnixMakesPrivateFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(privateTempDir(t), "new", "folder", "vault.sock")
	ln, err := Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(t, path); got.Perm() != 0o600 || got.Type() != os.ModeSocket {
		t.Errorf("socket has mode %v, want 0600", got)
	}
	if got := mode(t, filepath.Dir(path)); got.Perm() != 0o700 {
		t.Errorf("folder has mode %v, want 0700", got)
	}
	if err := ln.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: %v, want no file", err)
	}
}

func TestListenUnixRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, dir string) (path string)
		unsafe  bool
	}{
		{"folder is a link", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
			must(t, os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "link")))
			return filepath.Join(dir, "link", "s")
		}, true},
		{"folder is a file", func(t *testing.T, dir string) string {
			must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
			return filepath.Join(dir, "f", "s")
		}, false},
		{"others may write", func(t *testing.T, dir string) string {
			must(t, os.Chmod(dir, 0o777|os.ModeSticky))
			return filepath.Join(dir, "s")
		}, true},
		{"group may write", func(t *testing.T, dir string) string {
			if os.Chown(dir, -1, 65534) != nil {
				t.Skip("needs root, for a group that is not its own")
			}
			must(t, os.Chmod(dir, 0o770))
			return filepath.Join(dir, "s")
		}, true},
		{"others may write above", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
			must(t, os.Chmod(dir, 0o777))
			return filepath.Join(dir, "run", "s")
		}, true},
		{"folder of another user", func(t *testing.T, dir string) string {
			if os.Geteuid() != 0 {
				t.Skip("needs root, to give a folder away")
			}
			must(t, os.Chown(dir, 65534, 65534))
			return filepath.Join(dir, "s")
		}, true},
		{"socket of another user", func(t *testing.T, dir string) string {
			if os.Geteuid() != 0 {
				t.Skip("needs root, to give a file away")
			}
			path := leaveSocket(t, dir)
			must(t, os.Chown(path, 65534, 65534))
			return path
		}, true},
		{"a file is there", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "precious")
			must(t, os.WriteFile(path, []byte("x"), 0o600))
			return path
		}, true},
		{"a link is there", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "link")
			must(t, os.Symlink(leaveSocket(t, dir), path))
			return path
		}, true},
		{"another program answers", func(t *testing.T, dir string) string {
			ln, err := Listen(t.Context(), "unix", filepath.Join(dir, "s"))
			must(t, err)
			t.Cleanup(func() { _ = ln.Close() })
			return filepath.Join(dir, "s")
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := tt.prepare(t, privateTempDir(t))
			before, _ := os.Lstat(path)
			ln, err := Listen(t.Context(), "unix", path)
			if err == nil {
				_ = ln.Close()
				t.Fatal("Listen succeeded")
			}
			if errors.Is(err, ErrUnsafe) != tt.unsafe {
				t.Errorf("Listen = %v, wraps ErrUnsafe: %v, want %v", err, !tt.unsafe, tt.unsafe)
			}
			if after, err := os.Lstat(path); before != nil && (err != nil || !os.SameFile(before, after)) {
				t.Errorf("the file that was there is gone: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leaveSocket makes a socket file without a listening process.
func leaveSocket(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	ln.SetUnlinkOnClose(false)
	must(t, ln.Close())
	// A child that another test has just forked holds the listener until it has executed.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err != nil {
			return path
		}
		_ = c.Close()
	}
	t.Fatalf("%s is still listened on", path)
	return ""
}

// What a killed agent has left does not keep the next one from starting.
func TestListenUnixReplacesStale(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "unix", leaveSocket(t, privateTempDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// An agent that ends late must not remove the socket of its successor.
func TestCloseLeavesTheSuccessor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(privateTempDir(t), "s")
	old, err := Listen(t.Context(), "unix", path)
	must(t, err)
	must(t, os.Remove(path))
	successor, err := Listen(t.Context(), "unix", path)
	must(t, err)
	defer successor.Close()
	must(t, old.Close())
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
}

func TestLockRuntimeDir(t *testing.T) {
	t.Parallel()
	parent := privateTempDir(t)
	dir := filepath.Join(parent, "run")
	must(t, os.Mkdir(dir, 0o755))
	release, err := LockRuntimeDir(dir)
	must(t, err)
	if got := mode(t, dir); got.Perm() != 0o700 {
		t.Errorf("folder has mode %v, want 0700", got)
	}
	if got := mode(t, filepath.Join(dir, "agent.lock")); got.Perm() != 0o600 {
		t.Errorf("lock file has mode %v, want 0600", got)
	}
	second, err := LockRuntimeDir(dir)
	if !errors.Is(err, ErrRunning) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("second lock: %v, want %v with this process", err, ErrRunning)
	}
	if err == nil {
		second.Release()
	}
	release.Release()
	release.Release()
	third, err := LockRuntimeDir(dir)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	third.Release()

	must(t, os.Symlink(dir, filepath.Join(parent, "link")))
	if r, err := LockRuntimeDir(filepath.Join(parent, "link")); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a link: %v, want %v", err, ErrUnsafe)
		if err == nil {
			r.Release()
		}
	}
	must(t, os.Remove(filepath.Join(dir, "agent.lock")))
	must(t, os.Symlink(filepath.Join(parent, "victim"), filepath.Join(dir, "agent.lock")))
	if r, err := LockRuntimeDir(dir); err == nil {
		r.Release()
		t.Error("a lock file that is a link was followed")
	}
}
