//go:build unix

package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func listenAt(t *testing.T, socket string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNoAgentAtFile(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	_ = l.Close()
	for _, socket := range []string{stale, filepath.Join(dir, "none")} {
		c := NewClient(socket)
		if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoAgent) {
			t.Errorf("Status at %s: %v, want %v", socket, err, ErrNoAgent)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(stale, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if _, err := NewClient(path).Status(t.Context()); err == nil || errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("Status at %s: %v, want that it is not a socket", path, err)
		}
	}
}
