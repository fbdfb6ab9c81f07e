package main

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/control"
)

func TestStatusText(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name string
		st   control.Status
		want string
	}{
		{"much", control.Status{
			Version: "v1.2.3", PID: 4711, Started: now.Add(-3*time.Hour - 4*time.Minute), ConfigFile: "/home/ü/stepup.hcl",
			ConfigError: "stepup.hcl:3: unknown block \"x\"\nmore",
			Listeners: []control.Listener{
				{Network: "tcp", Address: "[::1]:8100", Vault: "corp", Check: "same user only"},
				{Network: "unix", Address: "/run/a b/vault.sock", Vault: "old", RequireHeader: true},
			},
			Vaults: []control.Vault{
				{Name: "corp", Address: "https://vault.corp.example:8200", Up: true, Version: "1.21.0"},
				{Name: "old", Address: "https://old.example", Error: "connection refused\x1b[2J"},
				{Name: "shut", Address: "https://shut.example", Up: true, Sealed: true},
			},
			Rules: []control.Rule{
				{Name: "prod-kv", Paths: []string{"kv/data/prod/*", "transit/sign/+"}, Capabilities: []string{"read", "update"}, Methods: []string{"a", "b"}, Grant: "header"},
				{Name: "ns", Paths: []string{"x"}, Namespace: "team/", Methods: []string{"a"}, Grant: "token"},
			},
			Tokens:   []control.Token{{Rule: "ns", Caller: "0a1b2c3d", Expires: now.Add(90 * time.Second), Uses: 3}},
			Prompts:  make([]control.Prompt, 2),
			Attached: 2, Prompters: []string{"terminal", "command"},
			Cache: control.Cache{Store: "keyring", State: "locked", Reason: "the default collection of the keyring is locked"},
			Notes: []string{"a note"},
		}, `agent      stepup v1.2.3, pid 4711, up 3h4m
config     /home/ü/stepup.hcl
           error: stepup.hcl:3: unknown block "x" more
           the configuration from before is still in force
listeners  export VAULT_ADDR='http://[::1]:8100'           # vault corp, same user only
           export VAULT_ADDR='unix:///run/a b/vault.sock'  # vault old, only with X-Vault-Request
vaults     corp  https://vault.corp.example:8200  up, version 1.21.0
           old   https://old.example              down: connection refused?[2J
           shut  https://shut.example             sealed
rules      prod-kv  kv/data/prod/*, transit/sign/+  read, update    header with a and b
           ns       x in namespace team/            all operations  token with a
prompts    2 prompts open: ` + "`stepup prompts`" + `
           asked by terminal, command, 2 attached terminals
cache      memory only, the keyring is locked: the default collection of the keyring is locked
           ns  for caller 0a1b2c3d  1m30s left  3 uses left
note       a note
`},
		{"nothing", control.Status{Started: now.Add(time.Hour), Vaults: []control.Vault{{Name: "v"}}, Cache: control.Cache{Store: "memory"}},
			`agent      stepup , pid 0, up 0s
config
vaults     v    down
rules      none: only logins are completed
prompts    none is open
           nobody is asked now: run ` + "`stepup attach`" + `
cache      memory
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, statusText(c.st, now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLockText(t *testing.T) {
	t.Parallel()
	got := lockText(control.LockResult{Revoked: 1, Forgotten: 2, Prompts: 3, Notes: []string{"one\nis left"}})
	if want := "locked: 1 token revoked, 2 tokens forgotten, 3 prompts cancelled\nnote: one is left\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = lockText(control.LockResult{Revoked: 2, Forgotten: 2})
	if want := "locked: 2 tokens revoked and forgotten\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 400 * time.Millisecond: "0s", 55 * time.Second: "55s", 60 * time.Second: "1m0s",
		59*time.Minute + 59600*time.Millisecond: "1h0m", 47*time.Hour + 59*time.Minute: "1d23h",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, c := range []struct {
		name, version string
		settings      []debug.BuildSetting
		want          string
	}{
		{"released", "v1.2.3", []debug.BuildSetting{setting("vcs.revision", "abc")}, "v1.2.3"},
		{"nothing", "", nil, "development"},
		{"a commit", "(devel)", []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "false")}, "development-0123456789ab"},
		{"a changed commit", "(devel)", []debug.BuildSetting{setting("vcs.revision", "0123"), setting("vcs.modified", "true")}, "development-0123-modified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := versionOf(&debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: c.settings}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzPrintable states that what is printed stays on its line, has a bound, and
// is not changed a second time unless it was cut.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "a\x1b[2Jb", "\u202e\u200f\u2028", "\xff\xfe", "ü\t\n", strings.Repeat("x", 500)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e }) {
			t.Errorf("%q", got)
		}
		if len(got) > 410 {
			t.Errorf("%d bytes", len(got))
		}
		if !strings.HasSuffix(got, "…") && printable(got) != got {
			t.Errorf("%q becomes %q", got, printable(got))
		}
	})
}

// FuzzShellQuote states that a quoted text is one word: outside of single quotes
// there is nothing that a shell looks at.
func FuzzShellQuote(f *testing.F) {
	for _, s := range []string{"", "plain", "a b", "it's", "$(x)", "`x`", "'", "[::1]:8100", "~", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := shellQuote(s)
		word, quoted := "", false
		for i := 0; i < len(q); i++ {
			switch {
			case q[i] == '\'':
				quoted = !quoted
			case !quoted && q[i] == '\\':
				i++
				word += q[i : i+1]
			case !quoted && strings.IndexByte(" \t\n$`\"&|;<>()*?[]{}~#!", q[i]) >= 0:
				t.Fatalf("%q is open at %d", q, i)
			default:
				word += q[i : i+1]
			}
		}
		if quoted || word != s || q == "" {
			t.Errorf("%q is %q to a shell, want %q", q, word, s)
		}
	})
}
