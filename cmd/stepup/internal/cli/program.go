package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/cache/keyring"
)

// The names under which stepup is a token helper. Vault and OpenBao run the program that
// token_helper names with one argument, get, store or erase (api/tokenhelper,
// ExternalTokenHelper), so a subcommand cannot be named there. Which CLI asks is
// in the name because each has its own idea of which variable comes first.
const (
	HelperName    = "stepup-token-helper"
	HelperNameBao = "stepup-token-helper-bao"
)

// CommandLine is the arguments of a process, with the subcommand that its name
// stands for.
func CommandLine(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	args := argv[1:]
	if len(args) > 0 && args[0] == KeyringCommand {
		return args // the helper is a copy, not a link, and calls itself
	}
	switch strings.TrimSuffix(filepath.Base(argv[0]), ".exe") {
	case HelperName:
		return slices.Concat([]string{"token-helper"}, args)
	case HelperNameBao:
		return slices.Concat([]string{"token-helper"}, args, []string{"--bao"})
	}
	return args
}

// ProgramPath is a path of this program that stays when it is upgraded: package
// managers replace the folder that os.Executable finds, and keep the name that
// people call.
func ProgramPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return self, nil
	}
	if called, err = filepath.Abs(called); err != nil || strings.HasPrefix(filepath.Base(called), HelperName) {
		return self, nil
	}
	ours, err := os.Stat(self)
	if err != nil {
		return "", err
	}
	if found, err := os.Stat(called); err != nil || !os.SameFile(ours, found) {
		return self, nil
	}
	return called, nil
}

// KeyringCommand is the argument that makes our own program the helper process of the
// keyring.
const KeyringCommand = "__keyring"

// HintRestart is how an agent is restarted.
const HintRestart = "`stepup service restart`, or ctrl-c and `stepup agent` where it runs in a terminal"

// Keyring is the keyring of the operating system, each call in a process that can
// be killed. It prompts for nothing and touches nothing until it is used.
func Keyring() *keyring.Child {
	self, err := ownProgram()
	if err != nil {
		return &keyring.Child{} // its first use fails: it has no program
	}
	return &keyring.Child{Command: []string{self, KeyringCommand}, Name: os.Args[0]}
}

// ownProgram is a path that leads to this program, also after an upgrade has replaced or
// removed the file that it was started from. Only Linux has such a path; elsewhere a
// replaced program serves, if it speaks the same protocol.
func ownProgram() (string, error) {
	const running = "/proc/self/exe"
	if _, err := os.Readlink(running); err == nil {
		return running, nil
	}
	return os.Executable()
}

// KeyringFailure returns an error of the keyring in words for people. The hint is
// for a keyring that cannot be used at all.
func KeyringFailure(err error, hint string) error {
	var unusable *keyring.Error
	if !errors.As(err, &unusable) {
		return err
	}
	return &Error{Err: fmt.Errorf("the keyring cannot be used: %s", unusable.Why), Hint: cmp.Or(unusable.Hint(), hint)}
}

// Version is the module's version from the build, or the commit, or
// "development".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	v := "development"
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v += "-" + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			v += "-modified"
		}
	}
	return v
}
