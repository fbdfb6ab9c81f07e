//go:build unix

package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeSystemctl knows two people who are logged in: the unit of 1000 is the package's, that of
// 1001 is their own.
const fakeSystemctl = `#!/bin/sh
case "$*" in
list-units*) printf 'user@1000.service loaded active running x\nuser@1001.service loaded active running x\n'; exit ;;
*--machine=1000@*show*stepup.*) for unit; do :; done; echo "/usr/lib/systemd/user/$unit"; exit ;;
*show*) echo /home/bob/.config/systemd/user/stepup.service; exit ;;
esac
echo "$*" >>"$CALLS"
`

// What the package managers do to agents that run, by the arguments that each of them gives.
func TestScripts(t *testing.T) {
	t.Parallel()
	restart := []string{
		"--user --machine=1000@ daemon-reload", "--user --machine=1000@ try-restart stepup.service",
		"--user --machine=1001@ daemon-reload", "--user --machine=1001@ try-restart stepup.service",
	}
	remove := []string{
		"--user --machine=1000@ disable --now stepup.socket", "--user --machine=1000@ disable --now stepup.service",
		"--global disable stepup.socket stepup.service",
	}
	for name, tt := range map[string]struct {
		script string
		args   []string
		want   []string
	}{
		"deb installs":  {"upgraded", []string{"configure"}, nil},
		"deb upgrades":  {"upgraded", []string{"configure", "1.0.0"}, restart},
		"rpm installs":  {"upgraded", []string{"1"}, nil},
		"rpm upgrades":  {"upgraded", []string{"2"}, restart},
		"apk upgrades":  {"upgraded", []string{"1.1.0-r1", "1.0.0-r1"}, restart},
		"Arch upgrades": {"upgraded", []string{"1.1.0-1", "1.0.0-1"}, restart},
		"deb removes":   {"removed", []string{"remove"}, remove},
		"deb replaces":  {"removed", []string{"upgrade", "1.1.0"}, nil},
		"rpm removes":   {"removed", []string{"0"}, remove},
		"rpm replaces":  {"removed", []string{"1"}, nil},
		"Arch removes":  {"removed", []string{"1.0.0-1"}, remove},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			// A function of the shell, as a program that was just written may not run yet.
			calls := filepath.Join(dir, "calls")
			source := filepath.Join(dir, "systemctl")
			if err := os.WriteFile(source, []byte(fakeSystemctl), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", append([]string{"-c", `systemctl() { sh "$FAKE" "$@"; }; script=$1; shift; . "./$script"`, "sh", tt.script}, tt.args...)...)
			cmd.Env = append(os.Environ(), "CALLS="+calls, "FAKE="+source)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text, _ := os.ReadFile(calls) // none without a call
			var got []string
			for line := range strings.Lines(string(text)) {
				got = append(got, strings.TrimSpace(line))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
