// Package paths says where configuration, sockets and state are on each system.
package paths

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vault-stepup/stepup/ownership"
)

// DefaultPath is where the configuration is when no flag says otherwise:
// STEPUP_CONFIG, or stepup/stepup.hcl in the user's configuration folder. It is
// "" when the environment does not tell where that is.
func DefaultPath(env func(string) string) string {
	if path := env("STEPUP_CONFIG"); path != "" {
		return path
	}
	return UserPath(env)
}

// HintInit is the command that writes a first configuration at path.
func HintInit(path string, env func(string) string) string {
	flag := " --config FILE"
	if usual, err := filepath.Abs(DefaultPath(env)); err == nil && path == usual {
		flag = ""
	}
	return "`stepup config init" + flag + " --address https://vault.example.com:8200` writes one"
}

// UserPath is where the user's own configuration is when nothing names another.
func UserPath(env func(string) string) string {
	return under(UserConfigDir(env), "stepup", "stepup.hcl")
}

// SharedPath is where the configuration for all users of the machine is. No variable of the
// environment says so, which a user could set: the file binds them. It is "" where the system
// does not tell.
func SharedPath() string {
	switch runtime.GOOS {
	case "windows":
		return under(programData(), "stepup", "stepup.hcl")
	case "darwin":
		return "/Library/Application Support/stepup/stepup.hcl"
	}
	return "/etc/stepup/stepup.hcl"
}

// UserConfigDir is the folder in which programs keep the user's configuration. It
// is "" when the environment does not tell where that is.
func UserConfigDir(env func(string) string) string {
	switch runtime.GOOS {
	case "windows":
		return under(env("AppData"))
	case "darwin":
		return under(Home(env), "Library", "Application Support")
	}
	return cmp.Or(under(env("XDG_CONFIG_HOME")), under(Home(env), ".config"))
}

// RuntimeDir is the absolute path of the folder for sockets: STEPUP_RUNTIME_DIR,
// or a default of the system. It has to be made 0700, and refused if it belongs to
// another user.
func RuntimeDir(env func(string) string) string { return RuntimeDirs(env)[0] }

// RuntimeDirs are the folders in which an agent of this user may run, [RuntimeDir] first:
// it may have been started with another environment, from cron, by su, or before the login.
func RuntimeDirs(env func(string) string) []string {
	if dir := env("STEPUP_RUNTIME_DIR"); dir != "" {
		return []string{absolute(dir)}
	}
	if runtime.GOOS == "windows" { // in a folder of the user, which others cannot write to
		return []string{cmp.Or(under(env("LocalAppData"), "stepup", "run"), filepath.Join(os.TempDir(), "stepup"))}
	}
	session := sessionDir()
	// Without both (macOS, ssh without a session, containers), the user's number
	// is in the name: the temporary folder is shared, and another user could have made a
	// folder of a common name first.
	temporary := filepath.Join(os.TempDir(), fmt.Sprintf("stepup-%d", os.Getuid()))
	switch own := under(env("XDG_RUNTIME_DIR"), "stepup"); {
	case own != "" && filepath.Dir(own) != session:
		return []string{own} // that of the user
	case own == "" && SessionDir() == "":
		return []string{temporary}
	}
	return []string{filepath.Join(session, "stepup"), temporary}
}

// sessionDir is what systemd-logind sets XDG_RUNTIME_DIR to.
func sessionDir() string { return fmt.Sprintf("/run/user/%d", os.Getuid()) }

// SessionDir is the folder of this user's login session, where XDG_RUNTIME_DIR does not name
// it; "" where there is none, or where others could enter it.
func SessionDir() string {
	if dir := sessionDir(); oursAlone(dir) {
		return dir
	}
	return ""
}

// oursAlone reports whether dir is a folder of this user that no other can enter.
func oursAlone(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && info.Mode().Perm()&0o077 == 0 && ownership.Ours(info)
}

// StateDir is the absolute path of the folder for the audit log:
// STEPUP_STATE_DIR, or a default of the system. It is "" when the environment
// does not tell where that is.
func StateDir(env func(string) string) string {
	if dir := env("STEPUP_STATE_DIR"); dir != "" {
		return absolute(dir)
	}
	switch runtime.GOOS {
	case "windows":
		return under(env("LocalAppData"), "stepup")
	case "darwin":
		return cmp.Or(under(env("XDG_STATE_HOME"), "stepup"), under(Home(env), "Library", "Application Support", "stepup"))
	}
	return cmp.Or(under(env("XDG_STATE_HOME"), "stepup"), under(Home(env), ".local", "state", "stepup"))
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

// UserName is the environment's word for the name of the user, or the system's.
func UserName(env func(string) string) string {
	if name := cmp.Or(env("USER"), env("LOGNAME"), env("USERNAME")); name != "" {
		return name
	}
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username[strings.LastIndexByte(u.Username, '\\')+1:] // behind the domain, on Windows
}

// Home is the environment's word for the home folder, or the system's.
func Home(env func(string) string) string {
	name := "HOME"
	if runtime.GOOS == "windows" {
		name = "USERPROFILE"
	}
	if home := env(name); home != "" {
		return home
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}
