package config

import (
	"cmp"
	"os"
	"path/filepath"
)

func homeDir(env func(string) string) string { return homeOr(env("USERPROFILE")) }

func configHome(env func(string) string) string { return under(env("AppData")) }

func stateHome(env func(string) string) string { return under(env("LocalAppData"), "stepup") }

// runtimeHome is in a folder of the user, which others cannot write to.
func runtimeHome(env func(string) string) string {
	return cmp.Or(under(env("LocalAppData"), "stepup", "run"), filepath.Join(os.TempDir(), "stepup"))
}
