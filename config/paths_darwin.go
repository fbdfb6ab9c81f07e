package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
)

func homeDir(env func(string) string) string { return homeOr(env("HOME")) }

func configHome(env func(string) string) string {
	return under(homeDir(env), "Library", "Application Support")
}

func stateHome(env func(string) string) string {
	return cmp.Or(under(env("XDG_STATE_HOME"), "stepup"), under(homeDir(env), "Library", "Application Support", "stepup"))
}

// runtimeHome is in the temporary folder, which macOS gives to each user alone.
// The number is there for sessions in which it is /tmp, shared with everybody.
func runtimeHome(env func(string) string) string {
	return cmp.Or(under(env("XDG_RUNTIME_DIR"), "stepup"), filepath.Join(os.TempDir(), fmt.Sprintf("stepup-%d", os.Getuid())))
}
