package paths

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs the folders of Linux, not those of " + runtime.GOOS)
	}
	temporary := filepath.Join(os.TempDir(), fmt.Sprintf("stepup-%d", os.Getuid()))
	if session := fmt.Sprintf("/run/user/%d", os.Getuid()); oursAlone(session) {
		temporary = filepath.Join(session, "stepup") // of this login session
	}
	tests := []struct {
		name                   string
		env                    map[string]string
		config, runtime, state string
	}{
		{
			"home only", map[string]string{"HOME": "/h"},
			"/h/.config/stepup/stepup.hcl", temporary, "/h/.local/state/stepup",
		},
		{
			"XDG", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s"},
			"/c/stepup/stepup.hcl", "/r/stepup", "/s/stepup",
		},
		{
			"relative XDG is ignored", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "c", "XDG_RUNTIME_DIR": "r", "XDG_STATE_HOME": "s"},
			"/h/.config/stepup/stepup.hcl", temporary, "/h/.local/state/stepup",
		},
		{
			"own variables win",
			map[string]string{
				"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s",
				"STEPUP_CONFIG": "/x/a.hcl", "STEPUP_RUNTIME_DIR": "/x/r/", "STEPUP_STATE_DIR": "/x/s",
			},
			"/x/a.hcl", "/x/r", "/x/s",
		},
		{
			"VAULT_ADDR has no say", map[string]string{"HOME": "/h", "VAULT_ADDR": "/v", "VAULT_AGENT_ADDR": "/v", "VAULT_CONFIG_PATH": "/v"},
			"/h/.config/stepup/stepup.hcl", temporary, "/h/.local/state/stepup",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := func(name string) string { return tt.env[name] }
			if got := DefaultPath(env); got != tt.config {
				t.Errorf("DefaultPath = %q, want %q", got, tt.config)
			}
			if got := RuntimeDir(env); got != tt.runtime {
				t.Errorf("RuntimeDir = %q, want %q", got, tt.runtime)
			}
			if got := StateDir(env); got != tt.state {
				t.Errorf("StateDir = %q, want %q", got, tt.state)
			}
		})
	}
}

func TestRelativeRuntimeDirBecomesAbsolute(t *testing.T) {
	t.Parallel()
	env := func(name string) string { return map[string]string{"STEPUP_RUNTIME_DIR": "run"}[name] }
	if got := RuntimeDir(env); !filepath.IsAbs(got) || filepath.Base(got) != "run" {
		t.Errorf("RuntimeDir = %q", got)
	}
}

// The folder of a session is found where su or cron has taken XDG_RUNTIME_DIR away, but not
// if others could enter it.
func TestOursAlone(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs modes")
	}
	top := t.TempDir()
	for name, mode := range map[string]os.FileMode{"own": 0o700, "open": 0o750} {
		if err := os.Mkdir(filepath.Join(top, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("own", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"own": true, "open": false, "link": false, "missing": false} {
		if got := oursAlone(filepath.Join(top, name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRuntimeDirs(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs the folders of Linux, not those of " + runtime.GOOS)
	}
	session := fmt.Sprintf("/run/user/%d", os.Getuid())
	temporary := filepath.Join(os.TempDir(), fmt.Sprintf("stepup-%d", os.Getuid()))
	for name, tt := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"a session":     {map[string]string{"XDG_RUNTIME_DIR": session}, []string{session + "/stepup", temporary}},
		"another place": {map[string]string{"XDG_RUNTIME_DIR": "/r"}, []string{"/r/stepup"}},
		"named":         {map[string]string{"XDG_RUNTIME_DIR": session, "STEPUP_RUNTIME_DIR": "/x"}, []string{"/x"}},
	} {
		if got := RuntimeDirs(func(name string) string { return tt.env[name] }); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
