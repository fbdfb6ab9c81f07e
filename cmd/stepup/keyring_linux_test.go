package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// busConfig has no service folders: nothing is started that the test did not start.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`

// startKeyring starts a session bus with a gnome-keyring whose login collection
// is open, and returns the address of the bus.
func startKeyring(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"dbus-daemon", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	dir, err := os.MkdirTemp("", "desktop") // a socket's path has 108 bytes at most
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := "unix:path=" + dir + "/bus"
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir + "/data", "XDG_RUNTIME_DIR=" + dir,
		"XDG_CONFIG_HOME=" + dir + "/config", "XDG_CACHE_HOME=" + dir + "/cache", "DBUS_SESSION_BUS_ADDRESS=" + address,
	}
	config := filepath.Join(dir, "bus.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil, busConfig, dir), 0o600))
	background := func(input string, command ...string) *bufio.Reader {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env, cmd.Stdin = env, strings.NewReader(input)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s said: %s", command[0], stderr.String())
			}
		})
		return bufio.NewReader(out)
	}
	_, err = background("", "dbus-daemon", "--nofork", "--print-address=1", "--config-file="+config).ReadString('\n')
	must(t, err) // printed when it listens
	conn, err := dbus.Connect(address)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, "org.freedesktop.secrets")))
	there := make(chan *dbus.Signal, 10)
	conn.Signal(there)
	background("password", "gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets", "--control-directory="+dir)
	for s := range there {
		if strings.HasSuffix(s.Name, ".NameOwnerChanged") {
			break
		}
	}
	return address
}

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
	bus := startKeyring(t)
	// A group, because the desktop must outlive the scripts, which are parallel.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:                 "testdata/keyring",
			UpdateScripts:       *update,
			RequireExplicitExec: true,
			RequireUniqueNames:  true,
			Setup: func(env *testscript.Env) error {
				env.Setenv("DBUS_SESSION_BUS_ADDRESS", bus)
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
