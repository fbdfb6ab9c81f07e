package daemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/prompt"
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
				{Name: "corp", Address: "https://vault.corp.example:8200", Up: true, Version: "1.21.0", Express: 4711},
				{Name: "old", Address: "https://old.example", Error: "connection refused\x1b[2J"},
				{Name: "shut", Address: "https://shut.example", Up: true, Sealed: true},
			},
			Rules: []control.Rule{
				{Name: "prod-kv", Paths: []string{"kv/data/prod/*", "transit/sign/+"}, Capabilities: []string{"read", "update"}, Methods: []string{"a", "b"}, Grant: "header"},
				{Name: "ns", Paths: []string{"x"}, Namespace: "team/", Methods: []string{"a"}, Grant: "token"},
			},
			Tokens: []control.Token{
				{Rule: "ns", Caller: "0a1b2c3d", Expires: now.Add(90 * time.Second), Uses: 3},
				{Rule: "ns", Caller: "1a", Expires: now.Add(time.Hour), LastUse: &control.Use{Time: now.Add(-2 * time.Minute), PID: 12, Program: "py\x1bthon3"}},
				{Rule: "ns", Caller: "2a", Expires: now.Add(time.Hour), LastUse: &control.Use{Time: now, PID: 12}},
				{Rule: "ns", Caller: "3a", Expires: now.Add(time.Hour), LastUse: &control.Use{Time: now}},
			},
			Prompts:  make([]prompt.Request, 2),
			Attached: 2, Prompters: []string{"terminal", "desktop", "command"}, CannotAsk: map[string]string{"desktop": "no graphical\x1b session"},
			Cache: control.Cache{Store: "keyring", State: "locked", Reason: "the default collection of the keyring is locked"},
			Notes: []string{"a note"},
		}, `agent      stepup v1.2.3, pid 4711, up 3h4m
config     /home/ü/stepup.hcl
           error: stepup.hcl:3: unknown block "x" more
           the configuration from before is still in force
listeners  export VAULT_ADDR='http://[::1]:8100'           # vault corp, same user only
           export VAULT_ADDR='unix:///run/a b/vault.sock'  # vault old, only with X-Vault-Request
vaults     corp  https://vault.corp.example:8200  up, version 1.21.0, 4711 requests passed straight through, with nothing to ask about
           old   https://old.example              down: connection refused?[2J
           shut  https://shut.example             sealed
rules      prod-kv  kv/data/prod/*, transit/sign/+  read, update    header with a and b
           ns       x in namespace team/            all operations  token with a
questions  2 questions open: ` + "`stepup prompts`" + `
           asked by terminal, command, 2 attached terminals
           not by desktop: no graphical? session
cache      memory only, the keyring is locked: the default collection of the keyring is locked
           ns  for caller 0a1b2c3d  1m30s left  3 uses left         not used since the agent was started
           ns  for caller 1a        1h0m left   any number of uses  used 2m0s ago by py?thon3 (pid 12)
           ns  for caller 2a        1h0m left   any number of uses  used 0s ago by pid 12
           ns  for caller 3a        1h0m left   any number of uses  used 0s ago
note       a note
`},
		{"nothing", control.Status{Started: now.Add(time.Hour), Vaults: []control.Vault{{Name: "v"}}, Cache: control.Cache{Store: "memory"}},
			`agent      stepup , pid 0, up 0s
config
vaults     v    down
rules      none: only logins are completed
questions  none is open
           no question can be shown now: run ` + "`stepup attach`" + `
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
	if want := "locked: 1 token revoked, 2 tokens forgotten, 3 questions cancelled\nnote: one is left\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for want, r := range map[string]control.Resumed{
		"no rule was muted or in a cool-down\n": {}, "resumed: 1 rule may ask again\n": {Rules: 1},
		"resumed: 2 cool-downs ended\n": {Pauses: 2}, "resumed: 2 rules may ask again, 1 cool-down ended\n": {Rules: 2, Pauses: 1},
	} {
		if got := resumeText(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	got = lockText(control.LockResult{Revoked: 2, Forgotten: 2})
	if want := "locked: 2 tokens revoked and forgotten\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
