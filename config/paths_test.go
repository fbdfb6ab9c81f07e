package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs the folders of Linux, not those of " + runtime.GOOS)
	}
	temporary := filepath.Join(os.TempDir(), fmt.Sprintf("stepup-%d", os.Getuid()))
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

// Without folders, Options take them from the environment that Env gives.
func TestOptionsFromEnv(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := Options{Env: func(name string) string {
		return map[string]string{"STEPUP_RUNTIME_DIR": dir, "STEPUP_STATE_DIR": dir, "HOME": dir, "USERPROFILE": dir}[name]
	}}
	src := "vault \"a\" { address = \"https://vault.example\" }\nlistener \"unix\" { address = \"${runtime_dir}/v\" }\naudit { file = \"${home}/a\" }"
	cfg, diags := Parse("stepup.hcl", []byte(src), opt)
	if diags.HasErrors() {
		t.Fatal(report(t, diags))
	}
	if cfg.Listeners[0].Address != filepath.Join(dir, "v") || cfg.Audit.File != filepath.Join(dir, "a") {
		t.Errorf("%+v, %+v", cfg.Listeners, cfg.Audit)
	}
}
