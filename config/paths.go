package config

import (
	"os"
	"path/filepath"
)

// DefaultPath is where the configuration is when no flag says otherwise:
// STEPUP_CONFIG, or stepup/stepup.hcl in the user's configuration folder. It is
// "" when the environment does not tell where that is.
func DefaultPath(env func(string) string) string {
	if path := env("STEPUP_CONFIG"); path != "" {
		return path
	}
	if dir := configHome(env); dir != "" {
		return filepath.Join(dir, "stepup", "stepup.hcl")
	}
	return ""
}

// UserConfigDir is the folder in which programs keep the user's configuration. It
// is "" when the environment does not tell where that is.
func UserConfigDir(env func(string) string) string { return configHome(env) }

// RuntimeDir is the absolute path of the folder for sockets: STEPUP_RUNTIME_DIR,
// or a default of the system. Whoever makes it makes it 0700, and refuses one
// that belongs to somebody else.
func RuntimeDir(env func(string) string) string {
	if dir := env("STEPUP_RUNTIME_DIR"); dir != "" {
		return absolute(dir)
	}
	return runtimeHome(env)
}

// StateDir is the absolute path of the folder for the audit log:
// STEPUP_STATE_DIR, or a default of the system. It is "" when the environment
// does not tell where that is.
func StateDir(env func(string) string) string {
	if dir := env("STEPUP_STATE_DIR"); dir != "" {
		return absolute(dir)
	}
	return stateHome(env)
}

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return filepath.Clean(dir)
}

// under joins elements to the folder that an environment variable names. A
// relative value is ignored, as the XDG base directory specification asks.
func under(dir string, elements ...string) string {
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(append([]string{dir}, elements...)...)
}

// homeOr is the environment's word for the home folder, or the system's.
func homeOr(value string) string {
	if value != "" {
		return value
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}
