package config

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vault-stepup/stepup/ownership"
)

// safe refuses a path that another user could change: the file decides which Vault gets the
// tokens, or which client the agent is. A path that cannot be looked at passes: opening it
// fails later.
func (f *file) safe(name string, t text, check func(string) error) bool {
	found, bad := errors.AsType[*ownership.Unsafe](check(t.value))
	if bad {
		f.fail(t.at, say("another user could change %s: %v", name, found).hint("%s", found.Fix()))
	}
	return !bad
}

// program checks a program with its arguments. It is never given to a shell: a bare name
// is looked up in PATH, and "~" means nothing.
func (f *file) program(name string, t text) bool {
	if filepath.Base(t.value) != t.value && !filepath.IsAbs(t.value) {
		f.fail(t.at, wordsRelative(name, t))
		return false
	}
	path := t.value
	if !filepath.IsAbs(path) {
		found, err := exec.LookPath(path)
		if err != nil {
			return true // it may be found where the agent runs
		}
		path = found
	}
	// It would run as this user. That is no error: package managers (Homebrew) install into
	// folders of the one person, or group, that manages them.
	if found, bad := errors.AsType[*ownership.Unsafe](ownership.Check(path)); bad {
		f.warn(t.at, say("another user could change the program of %s: %v", name, found).
			because("it runs as you, and sees or gives the codes").hint("%s", found.Fix()))
	}
	return true
}

// notFolder refuses a folder in the place of a file, or socket, that the agent makes.
func (f *file) notFolder(name string, t text) {
	if info, err := os.Stat(t.value); err == nil && info.IsDir() {
		f.fail(t.at, say("%s is a folder: %s", name, t.shown).hint("name a file in it"))
	}
}
