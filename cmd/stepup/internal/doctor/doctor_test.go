//go:build unix

package doctor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
	"github.com/vault-stepup/stepup/config"
)

// All run at the same time, are told in their order, and none can hold up the
// others for longer than its limit.
func TestRunChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		after := func(d time.Duration, find func(findings)) func(context.Context, findings) {
			return func(ctx context.Context, f findings) {
				select {
				case <-time.After(d):
					find(f)
				case <-ctx.Done():
					f.about("cut off").warn("%v", ctx.Err())
				}
			}
		}
		var shown []string
		start := time.Now()
		r := runChecks(t.Context(), []check{
			{"slow", 10 * time.Second, after(4*time.Second, func(f findings) { f.pass("good") })},
			{"quick", time.Second, after(0, func(f findings) { f.fail("bad").with("do this") })},
			{"long", time.Second, after(time.Hour, func(f findings) { f.pass("never") })},
			{"stuck", time.Second, func(context.Context, findings) { <-stuck }},
			{"silent", time.Second, func(context.Context, findings) {}},
		}, func(f finding) {
			shown = append(shown, fmt.Sprintf("%s after %s: %s", f.What, time.Since(start), f.Verdict))
		})
		want := []string{"slow after 4s: ok", "quick after 4s: fail", "cut off after 4s: warn", "stuck after 4s: warn"}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Error(diff)
		}
		if r.OK || len(r.Findings) != 4 {
			t.Errorf("%+v", r)
		}
		close(stuck)
	})
}

// found is what a check finds, as people read it.
func found(what string, run func(findings)) string {
	var all []finding
	run(findings{what, &all})
	text := ""
	for _, f := range all {
		text += f.String()
	}
	return text
}

func TestFindingText(t *testing.T) {
	t.Parallel()
	got := found("a\nb", func(f findings) {
		f.fail("%s", "x\x1b[2Jy").with("do %s", "\u202eit")
		f.about("a").pass("b")
	})
	if want := "fail  a b: x?[2Jy\n      hint: do ?it\nok    a: b\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTaker(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]peer.Peer{
		"nginx (pid 7)":          {UID: os.Getuid(), PID: 7, Exe: "/usr/sbin/nginx"},
		"a program of user 4242": {UID: 4242},
		"another program":        {UID: -1},

		"a program that hides its process, as stepup does (it may be stepup (pid 9), x?[0 (pid 8))": {
			UID: os.Getuid(), Hidden: true, MayBe: []peer.Candidate{{PID: 9, Name: "stepup"}, {PID: 8, Name: "x\x1b[0"}},
		},
		"a program that hides its process, as stepup does": {UID: os.Getuid(), Hidden: true},
	} {
		if got := taker(p); got != want {
			t.Errorf("%+v is %q, want %q", p, got, want)
		}
	}
}

func inLines(all []finding) (lines []string) {
	for _, f := range all {
		lines = append(lines, string(f.Verdict)+" "+f.What+": "+f.Finding+" | "+f.Hint)
	}
	return lines
}

// shellFindings runs the check of a shell with these variables, beside a
// configuration with a push and a listener at 127.0.0.1:8100.
func shellFindings(t *testing.T, set map[string]string) []string {
	t.Helper()
	home := t.TempDir()
	env := func(name string) string {
		if name == "HOME" {
			return home
		}
		return set[name]
	}
	if set["LOGGED_IN"] != "" {
		if err := os.WriteFile(home+"/.vault-token", []byte("hvs.kept"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `vault "v" { address = "https://vault.example:8200" }
listener "tcp" { address = "127.0.0.1:8100" }
listener "unix" { address = "/run/user/1/vault.sock" }
`
	text += map[string]string{
		"yes":     `mfa_method "phone" { type = "okta" }`,
		"as told": "mfa_method \"duo\" {\n  type = \"duo\"\n  passcode = true\n}",
		"okta":    `login_mfa { okta_mounts = ["auth/okta"] }`,
		"legacy":  `login_mfa { legacy_mounts = ["auth/ldap"] }`,
	}[set["PUSHES"]]
	c, diagnostics := config.Parse("x.hcl", []byte(text), config.Options{Env: env, Home: home, RuntimeDir: home, StateDir: home})
	if err := diagnostics.Err(); err != nil {
		t.Fatal(err)
	}
	var all []finding
	e := &environment{
		Console: &cli.Console{Env: env}, found: findings{"environment", &all}, config: c, listeners: vaultcli.ConfiguredListeners(c),
		lookup: func(name string) (string, bool) { value, ok := set[name]; return value, ok },
		hides:  func(program string) bool { return set["HIDES"] == program },
	}
	e.check()
	lines := inLines(all)
	for name, value := range set {
		if strings.Contains(value, "hunter2") && strings.Contains(strings.Join(lines, "\n"), "hunter2") {
			t.Errorf("the value of %s is shown: %q", name, lines)
		}
	}
	return lines
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	const right, export = "ok VAULT_ADDR: leads to the agent: http://127.0.0.1:8100 | ", "export VAULT_ADDR=http://127.0.0.1:8100"
	const hides = "its file has a capability, so its process hides: over TCP no question can name it, and a step-up for one terminal or program does not last | "
	const impatient = "warn VAULT_CLIENT_TIMEOUT: clients give up after 1m0s, a push may take 90 s | export VAULT_CLIENT_TIMEOUT=120s"
	for name, tt := range map[string]struct {
		set  map[string]string
		want []string
	}{
		"unset":            {nil, []string{"warn VAULT_ADDR: not set: Vault's clients go to https://127.0.0.1:8200 | " + export}},
		"right":            {map[string]string{"VAULT_ADDR": "http://localhost:8100/"}, []string{"ok VAULT_ADDR: leads to the agent: http://localhost:8100 | "}},
		"unix":             {map[string]string{"VAULT_ADDR": "unix:///run/user/1/vault.sock"}, []string{"ok VAULT_ADDR: leads to the agent: unix:///run/user/1/vault.sock | "}},
		"https to us":      {map[string]string{"VAULT_ADDR": "https://127.0.0.1:8100"}, []string{"fail VAULT_ADDR: https://127.0.0.1:8100 is the agent, which speaks plain http there | " + export}},
		"past the agent":   {map[string]string{"VAULT_ADDR": "https://u:hunter2@vault.example:8200"}, []string{"warn VAULT_ADDR: goes to https://vault.example:8200, past the agent | " + export}},
		"another Vault":    {map[string]string{"VAULT_ADDR": "https://other.example"}, []string{"warn VAULT_ADDR: goes to https://other.example:443, past the agent | " + export}},
		"another port":     {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8200"}, []string{"warn VAULT_ADDR: goes to http://127.0.0.1:8200, where no listener of the agent is | " + export}},
		"no address":       {map[string]string{"VAULT_ADDR": "hunter2:8100"}, []string{"fail VAULT_ADDR: is no address that Vault's clients can use | " + export}},
		"agent address":    {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_AGENT_ADDR": "http://127.0.0.1:9"}, []string{"warn VAULT_AGENT_ADDR: goes to http://127.0.0.1:9, where no listener of the agent is | " + export}},
		"OpenBao":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "BAO_ADDR": "https://vault.example:8200"}, []string{right, "warn BAO_ADDR: goes to https://vault.example:8200, past the agent | export BAO_ADDR=http://127.0.0.1:8100"}},
		"OpenBao alone":    {map[string]string{"BAO_ADDR": "http://127.0.0.1:8100"}, []string{"ok BAO_ADDR: leads to the agent: http://127.0.0.1:8100 | "}},
		"OpenBao, past":    {map[string]string{"BAO_ADDR": "https://vault.example:8200"}, []string{"warn BAO_ADDR: goes to https://vault.example:8200, past the agent | export BAO_ADDR=http://127.0.0.1:8100"}},
		"OpenBao, empty":   {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "BAO_ADDR": "", "BAO_TOKEN": ""}, []string{right, "warn BAO_ADDR: is set, but empty: OpenBao's clients take that and not VAULT_ADDR | unset BAO_ADDR"}},
		"a token":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_TOKEN": "hvs.hunter2", "LOGGED_IN": "yes"}, []string{right, "warn VAULT_TOKEN: is set, so the token in ~/.vault-token is not used | unset VAULT_TOKEN"}},
		"only a token":     {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_TOKEN": "hvs.hunter2"}, []string{right}},
		"proxy is us":      {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_PROXY_ADDR": "http://127.0.0.1:8100"}, []string{right, "fail VAULT_PROXY_ADDR: names the agent, which is no forward proxy: every request through it is refused | unset VAULT_PROXY_ADDR; VAULT_ADDR is what leads to the agent"}},
		"a proxy":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_HTTP_PROXY": "http://u:hunter2@proxy:1"}, []string{right, "warn VAULT_HTTP_PROXY: is a forward proxy for everything that Vault's clients send, to the agent too | set it for the agent alone (~/.config/environment.d) and unset VAULT_HTTP_PROXY here"}},
		"no proxy":         {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_PROXY_ADDR": "hunter2"}, []string{right, "fail VAULT_PROXY_ADDR: is not the URL of a proxy | unset VAULT_PROXY_ADDR"}},
		"http_proxy":       {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "http_proxy": "http://u:hunter2@proxy:1", "NO_PROXY": "example.com"}, []string{right, "warn http_proxy: is set and NO_PROXY does not leave 127.0.0.1 out: curl, Python, Node and others send your Vault token to that proxy | export NO_PROXY=127.0.0.1,localhost,::1 no_proxy=127.0.0.1,localhost,::1"}},
		"http_proxy, left": {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "HTTP_PROXY": "http://proxy:1", "no_proxy": "example.com, 127.0.0.1", "NO_PROXY": "*"}, []string{right}},
		"a network":        {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "HTTP_PROXY": "http://proxy:1", "no_proxy": "example.com, 127.0.0.0/8", "NO_PROXY": "127.0.0.1"}, []string{right, "warn HTTP_PROXY: is set and NO_PROXY leaves 127.0.0.1 out as part of a network only: vault-api, node-vault-client and others read no networks there and send your Vault token to that proxy | export NO_PROXY=127.0.0.1,localhost,::1 no_proxy=127.0.0.1,localhost,::1"}},
		"one of two":       {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "HTTP_PROXY": "http://proxy:1", "no_proxy": "127.0.0.1", "NO_PROXY": "10.0.0.0/8"}, []string{right, "warn HTTP_PROXY: is set and NO_PROXY does not leave 127.0.0.1 out: curl, Python, Node and others send your Vault token to that proxy | export NO_PROXY=127.0.0.1,localhost,::1 no_proxy=127.0.0.1,localhost,::1"}},
		"Ansible":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "ANSIBLE_HASHI_VAULT_ADDR": "https://u:hunter2@vault.example"}, []string{right, "warn ANSIBLE_HASHI_VAULT_ADDR: goes to https://vault.example:443, past the agent | export ANSIBLE_HASHI_VAULT_ADDR=http://127.0.0.1:8100"}},
		"impatient":        {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_CLIENT_TIMEOUT": "10"}, []string{right, "warn VAULT_CLIENT_TIMEOUT: clients give up after 10s, before you can answer | export VAULT_CLIENT_TIMEOUT=120s"}},
		"no time":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_CLIENT_TIMEOUT": "soon"}, []string{right, "fail VAULT_CLIENT_TIMEOUT: is no duration: Vault's clients fail | export VAULT_CLIENT_TIMEOUT=120s"}},
		"default":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "VAULT_CLIENT_TIMEOUT": "0"}, []string{right}},
		"pushes":           {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "PUSHES": "yes"}, []string{right, impatient}},
		"a chosen push":    {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "PUSHES": "as told"}, []string{right, impatient}},
		"Okta logins":      {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "PUSHES": "okta"}, []string{right, impatient}},
		"legacy logins":    {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "PUSHES": "legacy"}, []string{right, impatient}},
		"hides":            {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "HIDES": "vault"}, []string{right, "warn vault: " + hides + "export VAULT_ADDR=unix:///run/user/1/vault.sock, or `sudo setcap -r $(readlink -f $(command -v vault))`: only a server needs it"}},
		"hides, OpenBao":   {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "BAO_ADDR": "http://127.0.0.1:8100", "HIDES": "bao"}, []string{right, "warn bao: " + hides + "export BAO_ADDR=unix:///run/user/1/vault.sock, or `sudo setcap -r $(readlink -f $(command -v bao))`: only a server needs it"}},
		"hides, exec": {map[string]string{"HIDES": "vault"}, []string{"warn VAULT_ADDR: not set: Vault's clients go to https://127.0.0.1:8200 | " + export,
			"warn vault: " + hides + "export VAULT_ADDR=unix:///run/user/1/vault.sock, or `sudo setcap -r $(readlink -f $(command -v vault))`: only a server needs it"}},
		"hides, unix":      {map[string]string{"VAULT_ADDR": "unix:///run/user/1/vault.sock", "HIDES": "vault"}, []string{"ok VAULT_ADDR: leads to the agent: unix:///run/user/1/vault.sock | "}},
		"hides, elsewhere": {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "BAO_ADDR": "https://vault.example:8200", "HIDES": "bao"}, []string{right, "warn BAO_ADDR: goes to https://vault.example:8200, past the agent | export BAO_ADDR=http://127.0.0.1:8100"}},
		"patient":          {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8100", "PUSHES": "yes", "BAO_CLIENT_TIMEOUT": "2m"}, []string{right}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, shellFindings(t, tt.set)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is said of the service is in the words of its own manager.
func TestCheckService(t *testing.T) {
	t.Parallel()
	files := []supervisor.File{{Path: "/x/stepup", Origin: supervisor.OriginOurs}}
	for name, tt := range map[string]struct {
		state supervisor.State
		want  string
	}{
		"systemd, stopped": {supervisor.State{Manager: "systemd", Files: files, Doing: "inactive (dead)"}, "warn service: inactive (dead) | `systemctl --user start stepup.service` starts it"},
		"systemd, failed":  {supervisor.State{Manager: "systemd", Files: files, Failed: true, Doing: "failed"}, "fail service: failed | `journalctl --user -u stepup.service -u stepup.socket -n 30` says why, `stepup service install` tries again"},
		"launchd, stopped": {supervisor.State{Manager: "launchd", Files: files, Doing: "not loaded"}, "warn service: not loaded | `stepup service install` starts it"},
		"launchd, failed":  {supervisor.State{Manager: "launchd", Files: files, Failed: true, Doing: "not running"}, "fail service: not running | ~/Library/Logs/stepup.log says why, `stepup service install` tries again"},
		"not installed":    {supervisor.State{Manager: "launchd"}, "ok service: the service is not installed | `stepup service install` starts the agent when you log in"},
		"a task":           {supervisor.State{Manager: "the task scheduler", Unknown: true, Doing: "unknown: `schtasks /Query /TN stepup` shows the task"}, "ok service: unknown: `schtasks /Query /TN stepup` shows the task | "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all []finding
			checkService(&doctor{service: tt.state}, findings{"service", &all})
			if diff := cmp.Diff([]string{tt.want}, inLines(all)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
