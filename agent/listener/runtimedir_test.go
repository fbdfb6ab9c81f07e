package listener

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// A killed agent leaves the sockets of its private listeners. The next one removes
// them, and nothing else.
func TestSweepSockets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a socket has no file mode here")
	}
	dir := privateTempDir(t)
	left := func(name string) {
		ln, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = ln.Close()
	}
	left("private-ABCDEFGH.sock")
	left("vault.sock")
	file := filepath.Join(dir, "private-notes.sock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	SweepSockets(dir)
	for name, want := range map[string]bool{"private-ABCDEFGH.sock": false, "vault.sock": true, "private-notes.sock": true} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
