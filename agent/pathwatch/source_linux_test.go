package pathwatch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What is done beside a watched file wakes nothing: an agent idles most of the day, beside
// programs that write into the same folders.
func TestNoiseWakesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "stepup", "file")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	i := &inotify{events: os.NewFile(uintptr(fd), "inotify")}
	defer i.events.Close()
	if err := i.watch([]chain{follow(file)}); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{dir, filepath.Dir(file)} {
		noise := filepath.Join(beside, "noise")
		if err := errors.Join(os.WriteFile(noise, []byte("x"), 0o600), os.Chmod(noise, 0o644), os.Rename(noise, noise+"2"), os.Remove(noise+"2")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := unix.Read(fd, buf); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("read %d bytes of events, error %v", n, err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, _ := unix.Read(fd, buf); n <= 0 {
		t.Error("the file's own change is not told")
	}
}
