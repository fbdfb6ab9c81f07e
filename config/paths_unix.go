//go:build unix && !darwin

package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
)

func homeDir(env func(string) string) string { return homeOr(env("HOME")) }

func configHome(env func(string) string) string {
	return cmp.Or(under(env("XDG_CONFIG_HOME")), under(homeDir(env), ".config"))
}

func stateHome(env func(string) string) string {
	return cmp.Or(under(env("XDG_STATE_HOME"), "stepup"), under(homeDir(env), ".local", "state", "stepup"))
}

// runtimeHome has the user's number in its name where there is no
// XDG_RUNTIME_DIR (ssh without a session, containers): the temporary folder is
// shared, and anybody could have made a folder of a common name first.
func runtimeHome(env func(string) string) string {
	return cmp.Or(under(env("XDG_RUNTIME_DIR"), "stepup"), filepath.Join(os.TempDir(), fmt.Sprintf("stepup-%d", os.Getuid())))
}
