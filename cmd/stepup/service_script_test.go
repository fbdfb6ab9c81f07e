//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestServiceScript records what is asked of a systemctl that is a stand-in
// (testdata/systemctl); [TestUserSystemd] has the real one.
func TestServiceScript(t *testing.T) {
	t.Parallel()
	runScripts(t, "service", nil, fakeSystemctl, func(env *testscript.Env) error {
		env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
		env.Setenv("SUDO_UID", "")
		return nil
	})
}

// fakeSystemctl puts the stand-in before whatever this machine has.
func fakeSystemctl(env *testscript.Env) error {
	bin := filepath.Join(env.WorkDir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o700), os.Mkdir(filepath.Join(env.WorkDir, "fake"), 0o700)); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("FAKE", filepath.Join(env.WorkDir, "fake"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "home", ".config"))
	env.Setenv("UNITS", filepath.Join(env.WorkDir, "home", ".config", "systemd", "user"))
	// Not written by us: a process that another test starts at this moment would have
	// it open for writing for a while, and the system runs no such file.
	return exec.Command("install", "-m", "700", "testdata/systemctl", filepath.Join(bin, "systemctl")).Run()
}
