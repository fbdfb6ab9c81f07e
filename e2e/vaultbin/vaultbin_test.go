package vaultbin

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell script as a stand-in for vault")
	}
	dir := t.TempDir()
	script := func(name, says string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\necho '"+says+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return file
	}
	right := script("right", "Vault "+Version+", built some day (cgo)")
	tests := []struct {
		name, bin, want string
	}{
		{"the right one", right, ""},
		{"another version", script("other", "Vault v1.21.4, built some day"), "the tests are for " + Version},
		{"a prefix of the version", script("longer", "Vault "+Version+"9, built some day"), "the tests are for " + Version},
		{"not there", filepath.Join(dir, "none"), "no such file"},
	}
	for _, test := range tests {
		t.Setenv(Variable, test.bin)
		got, err := Find(t.Context())
		if test.want == "" {
			if err != nil || got != test.bin {
				t.Errorf("%s: %q, %v", test.name, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrMissing) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	t.Setenv(Variable, right)
	if _, err := Build(t.Context(), os.Stderr); err == nil {
		t.Error("a binary that was named by hand would be built over")
	}
	bao := map[string]string{
		"": "",
		script("bao", "OpenBao v2.6.2 (abc), built x"): "",
		script("bare", "OpenBao v2.0.0-HEAD (cgo)"):    "",
		right: "which is no OpenBao",
		script("news", "OpenBao is now called v3"): "which is no OpenBao",
		filepath.Join(dir, "none"):                 "no such file",
	}
	for bin, want := range bao {
		t.Setenv(OpenBaoVariable, bin)
		got, says, err := FindOpenBao(t.Context())
		if want == "" {
			if err != nil || got != bin || strings.HasPrefix(says, "OpenBao v2.") != (bin != "") {
				t.Errorf("%s: %q, %q, %v", bin, got, says, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", bin, err, want)
		}
	}
	t.Setenv(Variable, "")
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("HOME", dir)
	if _, err := Find(t.Context()); !errors.Is(err, ErrMissing) {
		t.Errorf("empty cache: %v", err)
	}
}
