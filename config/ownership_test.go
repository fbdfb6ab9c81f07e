//go:build unix

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/config"
)

// What a configuration names is refused if another user could change it, and so is the
// configuration; a program is only warned of.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		vault, more string // of the file; DIR is the folder that others may write to
		err, warn   string // of the first diagnostic
	}{
		"nothing":            {},
		"ca_cert":            {vault: `ca_cert = "DIR/sub/ca.pem"`, err: "another user could change ca_cert: DIR can be written to by every user"},
		"ca_cert, by a link": {vault: `ca_cert = "DIR/away.pem"`, err: "another user could change ca_cert: DIR can"},
		"ca_path":            {vault: `ca_path = "DIR/sub"`, err: "another user could change ca_path: DIR can"},
		"client_key": {
			vault: "client_cert = \"/nonexistent/cert.pem\"\n client_key = \"DIR/sub/ca.pem\"", err: "another user could change client_key: DIR can",
		},
		"audit":                   {more: `audit { file = "DIR/sub/audit.jsonl" }`, err: "another user could change file: DIR can"},
		"audit that is not there": {more: `audit { file = "DIR/new/audit.jsonl" }`, err: "another user could change file: DIR can"},
		"socket":                  {more: `listener "unix" { address = "DIR/sub/vault.sock" }`, err: "another user could change address: DIR can"},
		"passcode_command": {
			more: "mfa_method \"m\" {\n type = \"totp\"\n passcode_command = [\"DIR/sub/code\"]\n}",
			warn: "another user could change the program of passcode_command: DIR can",
		},
		"command": {
			more: "prompt {\n use = [\"command\"]\n command = [\"DIR/sub/code\", \"x\"]\n}",
			warn: "another user could change the program of command: DIR can",
		},
		"pinentry": {more: `prompt { pinentry = "DIR/sub/code" }`, warn: "another user could change the program of pinentry: DIR can"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			safe, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(safe, "open")
			for _, err := range []error{
				os.Chmod(safe, 0o755), os.MkdirAll(filepath.Join(dir, "sub"), 0o755),
				os.WriteFile(filepath.Join(dir, "sub/ca.pem"), nil, 0o644), os.WriteFile(filepath.Join(dir, "sub/code"), nil, 0o755),
				os.WriteFile(filepath.Join(safe, "ca.pem"), nil, 0o644), os.Symlink("../ca.pem", filepath.Join(dir, "away.pem")),
				os.Chmod(dir, 0o777),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			text := "vault \"v\" {\n address = \"https://vault.example.com\"\n " + tt.vault + "\n}\nlistener \"tcp\" { address = \"127.0.0.1:8100\" }\n" + tt.more + "\n"
			path := filepath.Join(safe, "stepup.hcl")
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, d := config.Load(path, config.Options{Env: os.Getenv})
			says := func(line, want string) bool {
				return want == "" && line == "" || want != "" && strings.Contains(line, strings.ReplaceAll(want, "DIR", dir))
			}
			var failed string
			for _, one := range d.All() {
				if d.HasErrors() && strings.Contains(one.Summary, "another user") {
					failed = one.Summary
				}
			}
			if !says(failed, tt.err) {
				t.Errorf("errors: %v, want %q", d.Err(), tt.err)
			}
			if warnings := strings.Join(d.Warnings(), "\n"); !says(warnings, tt.warn) {
				t.Errorf("warnings: %q, want %q", warnings, tt.warn)
			}
		})
	}
}

func TestConfigurationOfOthers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "open")
	path := filepath.Join(dir, "stepup.hcl")
	text := []byte("vault \"v\" { address = \"https://vault.example.com\" }\nlistener \"tcp\" { address = \"127.0.0.1:8100\" }\n")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change string
		mode   os.FileMode
		part   string // that is refused; "" if none
	}{
		{dir, 0o755, ""}, {dir, 0o777, dir}, {dir, 0o777 | os.ModeSticky, ""}, {path, 0o666, path}, {path, 0o602, path}, {path, 0o644, ""},
	} {
		if err := os.Chmod(tt.change, tt.mode); err != nil {
			t.Fatal(err)
		}
		c, d := config.Load(path, config.Options{Env: os.Getenv})
		if tt.part == "" {
			if d.HasErrors() {
				t.Errorf("%s with %v: %v", tt.change, tt.mode, d.Err())
			}
			continue
		}
		if c != nil || !strings.Contains(d.Err().Error(), "another user could change the configuration: ") {
			t.Errorf("%s with %v: %v", tt.change, tt.mode, d.Err())
		}
		var out strings.Builder
		if err := d.Write(&out, 0, false); err != nil || !strings.Contains(out.String(), "hint: chmod") || !strings.Contains(out.String(), tt.part+"\n") {
			t.Errorf("%s with %v: says %q, error %v", tt.change, tt.mode, out.String(), err)
		}
	}
	// Every user may write to it, and must be able to.
	if _, d := config.Load(os.DevNull, config.Options{Env: os.Getenv}); !strings.Contains(d.Err().Error(), "is not a regular file") {
		t.Errorf("%s: %v", os.DevNull, d.Err())
	}
}
