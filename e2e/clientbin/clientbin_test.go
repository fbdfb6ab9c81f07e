package clientbin

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestVersions(t *testing.T) {
	t.Chdir("..")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	for _, c := range All() {
		version, err := c.Version()
		if err != nil || version == "" {
			t.Errorf("%s: version %q, %v", c.Name, version, err)
		}
		if _, err := c.Find(); !errors.Is(err, ErrMissing) {
			t.Errorf("%s is found in an empty cache: %v", c.Name, err)
		}
		folder, err := c.folder()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Find(); err != nil || got != c.in(folder) {
			t.Errorf("%s: Find() = %q, %v", c.Name, got, err)
		}
	}
}

func TestNoVersion(t *testing.T) {
	t.Chdir(t.TempDir())
	c := ConsulTemplate()
	if _, err := c.Version(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a module: %v", err)
	}
	if err := os.MkdirAll(c.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir(), "go.mod"), []byte("module x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Version(); err == nil {
		t.Errorf("a module without it: %q", got)
	}
}
