package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The names under which stepup is a token helper. Vault and OpenBao run what
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
