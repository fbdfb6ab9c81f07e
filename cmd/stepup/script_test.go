//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

// patience is how long a script waits for what must come: much longer than a
// busy machine needs, so that it only ends what would hang.
const patience = 30 * time.Second

// TestScript runs every script of testdata/script. Each has a development Vault,
// a runtime folder and a configuration (agent.hcl) of its own.
func TestScript(t *testing.T) {
	t.Parallel()
	// What nohup, or a shell's &, has us ignore, every command of the scripts would ignore, too.
	heard := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(heard, s)
		}
	}
	runScripts(t, "script", nil)
}

// A commandTable has what the scripts of a folder have beside the programs.
type commandTable = map[string]func(*testscript.TestScript, bool, []string)

// runScripts runs the scripts of a folder of testdata, with more commands than every
// folder has. Each script gets a fixture, which prepare may change.
func runScripts(t *testing.T, folder string, more commandTable, prepare ...func(*testscript.Env) error) {
	t.Helper()
	all := scriptCommands()
	maps.Copy(all, more)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", folder), UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true, Cmds: all,
		Setup: func(env *testscript.Env) error {
			for _, each := range append([]func(*testscript.Env) error{newFixture}, prepare...) {
				if err := each(env); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

func scriptCommands() commandTable {
	return commandTable{
		"exits":    exits,
		"ready":    ready,
		"serves":   serves,
		"hangup":   hangup,
		"asked":    asked,
		"code":     code,
		"thumb":    thumb,
		"number":   showNumber,
		"approve":  approve,
		"suggests": suggests,
		"mode":     mode,
		"tty":      startTTY,
		"screen":   expectScreen,
		"type":     typeTTY,
		"left":     leftTTY,
		"close":    closeTTY,
		"waits":    waits,
		"refused":  refused,
		"reloaded": reloaded,
		"says":     says,
	}
}

// A fixture is what a script's commands share.
type fixture struct {
	vault   *devvault.Server
	pushes  map[string]*devvault.Push // by name of their method
	screens map[string]*screen
	okta    *devvault.Okta // nil where a script has none
}

type fixtureKey struct{}

func fixtureOf(ts *testscript.TestScript) *fixture { return ts.Value(fixtureKey{}).(*fixture) }

const agentConfig = `vault "dev" {
  address = "${env.DEV_VAULT}"
}
listener "tcp" { address = "127.0.0.1:0" }
mfa_method "corp_totp" { type = "totp" }
mfa_method "corp_duo" { type = "duo" }
step_up "prod" {
  paths   = ["kv/data/prod/*"]
  methods = ["corp_totp"]
  grant "header" {}
}
step_up "ship" {
  paths   = ["kv/data/ship/*"]
  methods = ["corp_totp"]
  grant "token" {
    path     = "auth/token/create/stepup"
    policies = ["ship"]
  }
}
step_up "phone" {
  paths   = ["kv/data/phone/*"]
  methods = ["corp_duo"]
  grant "header" {}
}
prompt {
  use      = ["attached"]
  cooldown = "1ms"
}
cache  { store = "memory" }
log    { level = "warn" }
`

// newFixture gives a script a Vault with alice in it, and a configuration.
func newFixture(env *testscript.Env) error {
	v := devvault.New(devvault.Config{})
	env.Defer(v.Close)
	v.AddTOTPMethod("corp_totp")
	f := &fixture{vault: v, screens: make(map[string]*screen), pushes: map[string]*devvault.Push{"corp_duo": v.AddPushMethod("corp_duo", "duo")}}
	v.AddPolicy("app",
		devvault.PathRule{Path: "kv/data/prod/*", Capabilities: []string{"read"}, MFAMethods: []string{"corp_totp"}},
		devvault.PathRule{Path: "kv/data/forgotten/*", Capabilities: []string{"read"}, MFAMethods: []string{"corp_totp"}},
		devvault.PathRule{Path: "kv/data/phone/*", Capabilities: []string{"read"}, MFAMethods: []string{"corp_duo"}})
	v.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp_totp"}})
	v.AddPolicy("ship", devvault.PathRule{Path: "kv/data/ship/*", Capabilities: []string{"read"}})
	v.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"ship"}})
	alice := v.AddUser("userpass", "alice", "alice's password", "app")
	if _, _, err := v.EnrolTOTP("corp_totp", alice); err != nil {
		return err
	}
	if err := v.AddLoginEnforcement("logins", []string{"corp_totp", "corp_duo"}, []string{"userpass"}); err != nil {
		return err
	}
	for _, path := range []string{"kv/prod/db", "kv/phone/db", "kv/ship/web"} {
		if err := v.PutSecret(path, map[string]any{"value": "the secret of " + path}); err != nil {
			return err
		}
	}
	url, err := v.Start()
	if err != nil {
		return err
	}
	if err := f.setEnv(env, url); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "agent.hcl"), []byte(agentConfig), 0o600)
}

// setEnv gives a script its environment.
func (f *fixture) setEnv(env *testscript.Env, url string) error {
	// Not in $WORK: the path of a socket must be short.
	runtimeDir, err := os.MkdirTemp("", "su")
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(runtimeDir) })
	env.Values[fixtureKey{}] = f
	env.Setenv("DEV_VAULT", url)
	env.Setenv("ADDRESS", ownAddress(os.Getpid(), 8103))
	env.Setenv("APP_TOKEN", f.vault.CreateToken([]string{"default", "app", "minter"}, "alice"))
	env.Setenv("STEPUP_RUNTIME_DIR", runtimeDir)
	env.Setenv("STEPUP_STATE_DIR", filepath.Join(env.WorkDir, "state"))
	env.Setenv("STEPUP_CONFIG", filepath.Join(env.WorkDir, "agent.hcl"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	// A process with the race detector sleeps for a second at its end.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	return nil
}

// exits CODE COMMAND [ARGUMENT...]: the command ends with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func clientOf(ts *testscript.TestScript) *control.Client {
	return control.NewClient(filepath.Join(ts.Getenv("STEPUP_RUNTIME_DIR"), agent.ControlSocket))
}

// eventually calls done until it is true.
func eventually(ts *testscript.TestScript, what string, done func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	guard := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-guard:
			ts.Fatalf("waited in vain: %s", what)
		}
	}
}

// ready [CONFIG-ERROR]: the agent answers; with an argument, its last reload has
// failed with that text.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "the agent is ready", func() bool {
		s, err := clientOf(ts).Status(context.Background())
		return err == nil && len(s.Listeners) > 0 && (len(args) == 0 || strings.Contains(s.ConfigError, args[0]))
	})
}

// reloaded TEXT: the last reload has changed what begins with that text.
func reloaded(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "the agent has reloaded", func() bool {
		s, err := clientOf(ts).Status(context.Background())
		return err == nil && s.Reload != nil && s.Reload.Error == "" && strings.HasPrefix(s.Reload.Changes, args[0])
	})
}

// says TEXT: a note of the status contains that pattern.
func says(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	eventually(ts, "the status says "+args[0], func() bool {
		s, err := clientOf(ts).Status(context.Background())
		return err == nil && slices.ContainsFunc(s.Notes, pattern.MatchString)
	})
}

// hangup: sends the agent a SIGHUP.
func hangup(ts *testscript.TestScript, _ bool, _ []string) {
	s, err := clientOf(ts).Status(context.Background())
	ts.Check(err)
	ts.Check(syscall.Kill(s.PID, syscall.SIGHUP))
}

// serves VAULT: the agent has a configuration in force whose first vault is that.
func serves(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "the agent serves "+args[0], func() bool {
		s, err := clientOf(ts).Status(context.Background())
		return err == nil && len(s.Vaults) > 0 && s.Vaults[0].Name == args[0]
	})
}

// asked N: so many prompts are open. Sets $ID to the newest of them and $ID1,
// $ID2… to all of them, oldest first.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: asked N")
	}
	var open []prompt.Request
	eventually(ts, args[0]+" prompts are open", func() bool {
		var err error
		open, err = clientOf(ts).Prompts(context.Background())
		return err == nil && strconv.Itoa(len(open)) == args[0]
	})
	for i, p := range open {
		ts.Setenv("ID", p.ID)
		ts.Setenv("ID"+strconv.Itoa(i+1), p.ID)
	}
}

// code [METHOD [PERSON]]: sets $CODE to what the app of alice, or PERSON, shows for
// corp_totp, or METHOD, and $WRONG to another one.
func code(ts *testscript.TestScript, _ bool, args []string) {
	method, person := "corp_totp", "alice"
	if len(args) > 0 {
		method = args[0]
	}
	if len(args) > 1 {
		person = args[1]
	}
	code := fixtureOf(ts).vault.UnusedCode(method, person)
	ts.Setenv("CODE", code)
	ts.Setenv("WRONG", wrongCode(code))
}

// wrongCode is another code of the same length.
func wrongCode(code string) string {
	return strings.Map(func(digit rune) rune { return '0' + (digit-'0'+5)%10 }, code)
}

// thumb [METHOD]: approves the push that is on alice's phone, or will be; with !,
// refuses it. METHOD is corp_duo where it is left out.
func thumb(ts *testscript.TestScript, neg bool, args []string) {
	method := "corp_duo"
	if len(args) > 0 {
		method = args[0]
	}
	push := fixtureOf(ts).pushes[method]
	if push == nil {
		ts.Fatalf("%s pushes to no phone", method)
	}
	decide := push.Approve
	if neg {
		decide = push.Deny
	}
	eventually(ts, "a push is on the phone", decide)
}

// showNumber (number): Okta shows the number of the login that waits.
func showNumber(ts *testscript.TestScript, _ bool, _ []string) {
	f := fixtureOf(ts)
	if f.okta == nil {
		ts.Fatalf("this Vault has no Okta mount")
	}
	f.okta.Hold(false)
}

// mode FILE MODE: the file has that mode, in octal.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}
