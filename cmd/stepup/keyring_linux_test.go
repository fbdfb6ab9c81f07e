package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/messagebus/messagebustest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeyringScript runs the scripts of testdata/keyring on one desktop with a
// real keyring; they keep apart by the names of what they store.
func TestKeyringScript(t *testing.T) {
	t.Parallel()
	bus := messagebustest.NewDaemon(t)
	bus.StartKeyring(t)
	// A group, because the desktop must outlive the scripts, which are parallel.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:                 "testdata/keyring",
			UpdateScripts:       *update,
			RequireExplicitExec: true,
			RequireUniqueNames:  true,
			Setup: func(env *testscript.Env) error {
				env.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address)
				for name, text := range map[string]string{"bare": "hvs.the-token-of-alice", "second": "hvs.second"} {
					// Files of a script end with a line break; what the helper prints does not.
					if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text), 0o600); err != nil {
						return err
					}
				}
				return setUp(env)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"exits": exits, "ready": ready, "seed": seed, "picture": picture, "matches": matches, "listener": listenerURL,
			},
		})
	})
}

// matches: stepup prints the code of corp_totp that Vault expects of alice.
func matches(ts *testscript.TestScript, _ bool, _ []string) {
	vault := worldOf(ts).vault
	before := vault.Code("corp_totp", "alice")
	ts.Check(ts.Exec("stepup", "totp", "code", "corp_totp"))
	got := strings.TrimSpace(ts.ReadFile("stdout"))
	if after := vault.Code("corp_totp", "alice"); got != before && got != after { // a period may end meanwhile
		ts.Fatalf("code is %q, want %q or %q", got, before, after)
	}
}

// listenerURL is the command "listener NAME": sets the variable to the URL of the agent's first listener.
func listenerURL(ts *testscript.TestScript, _ bool, args []string) {
	s, err := clientOf(ts).Status(context.Background())
	ts.Check(err)
	ts.Setenv(args[0], "http://"+s.Listeners[0].Address)
}
