package examples

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vault-stepup/stepup/config"
)

func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(Files, "*.hcl")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, err := Files.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(src), "# When to use it: ") {
				t.Error("does not begin with when to use it")
			}
			opt := config.Options{
				Env:  func(string) string { return "" },
				User: "alice", Home: "/home/alice", RuntimeDir: "/run/user/1000/stepup", StateDir: "/home/alice/.local/state/stepup",
			}
			_, diags := config.Parse(name, src, opt)
			if len(diags.All()) > 0 {
				var b bytes.Buffer
				_ = diags.Write(&b, 0, false) // a Buffer does not fail
				t.Error(b.String())
			}
		})
	}
}

const request = `{"id":"a1","kind":"KIND","rule":"r","vault":"corp","namespace":"","path":"kv/data/x\"y","operation":"read",` +
	`"method":"corp_totp","method_type":"totp","digits":6,"choices":[],"attempt":1,"attempts":3,"message":"wrong \"kind\":\"push\" code",` +
	`"requester":{"pid":1,"uid":1,"exe":"/bin/x","chain":["x"]},"deadline":"2030-01-02T15:04:05Z"}` + "\n"

// The prompt command, with a systemd-ask-password that shows what it was asked.
func TestPromptCommand(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs sh")
	}
	const asks = "#!/bin/sh\n[ \"$1\" = --help ] && echo ' --user' && exit 0\nfor last; do :; done\necho \"$last\" >&2\n"
	tests := []struct {
		name, kind, program string
		answer, question    string
		code                int
	}{
		{"code", "passcode", asks + "echo 123456\n", "123456\n", `wrong \"kind\":\"push\" code. Code of corp_totp for Vault (read kv/data/x\"y):`, 0},
		{"password", "password", asks + "echo pw\n", "pw\n", "Password for Vault", 0},
		{"denied", "passcode", asks + "exit 1\n", "", "Code of corp_totp", 1},
		{"confirmed", "confirm", asks + "echo yes\n", "yes\n", "Allow read", 0},
		{"not confirmed", "confirm", asks + "echo y\n", "", "Allow read", 1},
		{"choice is for others", "choose", asks, "", "", 2},
		{"systemd before 257", "passcode", "#!/bin/sh\n[ \"$1\" = --help ] && exit 0\necho 1\n", "", "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "systemd-ask-password"), []byte(tt.program), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Parallel() // only now: a fork that still holds a program open for writing makes it "busy"
			cmd := exec.Command(sh, "prompt-command.sh")
			cmd.Env = []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + dir}
			cmd.Stdin = strings.NewReader(strings.Replace(request, "KIND", tt.kind, 1))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if string(out) != tt.answer || code != tt.code || !strings.Contains(stderr.String(), tt.question) {
				t.Errorf("answered %q with code %d, asked %q; want %q, %d, %q", out, code, stderr.String(), tt.answer, tt.code, tt.question)
			}
		})
	}
}
