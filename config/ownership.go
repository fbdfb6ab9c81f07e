package config

import (
	"errors"
	"os/exec"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/vault-stepup/stepup/ownership"
)

// unsafe is what a check of package ownership found, nil where all is well or the file
// cannot be looked at: whoever opens it says so.
func unsafe(err error) *ownership.Unsafe {
	var found *ownership.Unsafe
	if errors.As(err, &found) {
		return found
	}
	return nil
}

// safe refuses a path that another user could change: what stands there decides which
// Vault gets the tokens, or in whose name the agent speaks.
func (d *decoder) safe(name string, t text, check func(string) error) bool {
	found := unsafe(check(t.value))
	if found != nil {
		d.fail(t.at, wordsUnsafe(name, found))
	}
	return found == nil
}

// program warns of a program that another user could change, and would then run as
// this user. It is no error: package managers (Homebrew) install into folders of the
// one person, or group, that manages them.
func (d *decoder) program(name string, t text) {
	path := t.value
	if !filepath.IsAbs(path) {
		found, err := exec.LookPath(path)
		if err != nil {
			return // it may be found where the agent runs
		}
		path = found
	}
	if found := unsafe(ownership.Check(path)); found != nil {
		d.warn(t.at, wordsUnsafeProgram(name, found))
	}
}

// unsafeFile refuses the configuration itself.
func unsafeFile(path string) (Diagnostics, bool) {
	found := unsafe(ownership.Check(path))
	if found == nil {
		return Diagnostics{}, false
	}
	m := wordsUnsafeFile(found)
	return Diagnostics{list: hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: m.summary, Detail: m.detail, Extra: hint(m.hint),
	}}}, true
}
