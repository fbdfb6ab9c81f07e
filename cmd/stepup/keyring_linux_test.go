package main

import (
	"context"
	"errors"
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
		more := commandTable{"seed": seed, "picture": picture, "matches": matches, "listener": listenerURL}
		runScripts(t, "keyring", more, func(env *testscript.Env) error {
			env.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address)
			// Files of a script end with a line break; what the helper prints does not.
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "bare"), []byte("hvs.the-token-of-alice"), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "second"), []byte("hvs.second"), 0o600),
			)
		})
	})
}

// matches: stepup prints the code of corp_totp that Vault expects of alice.
func matches(ts *testscript.TestScript, _ bool, _ []string) {
	vault := fixtureOf(ts).vault
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
