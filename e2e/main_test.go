package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/e2e/okta"
	"github.com/vault-stepup/stepup/e2e/pingid"
	"github.com/vault-stepup/stepup/e2e/vaultbin"
)

// world is what all tests share: two binaries, one server, two phone
// companies.
// Tests keep apart by their own users, methods, paths and agents.
var world suite

type suite struct {
	vault  string // path of the binary; "" with missing
	bao    bool   // it is OpenBao
	why    string // why there is no vault
	dir    string
	server *server
	hasty  func() (*server, error) // one that waits 10 s for a phone, not 90
	ping   *pingid.Stub
	okta   *okta.Stub // nil with noOkta
	noOkta string     // why there is none
	stepup func() (string, error)
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == responderArg {
		os.Exit(responderMain(os.Args[2]))
	}
	flag.Parse()
	// Neither the tests' own clients nor the programs that they start may be
	// steered from outside.
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "VAULT_") || strings.HasPrefix(name, "BAO_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	world.dir = dir
	world.stepup = sync.OnceValues(buildStepup)
	world.ping = pingid.New()
	defer world.ping.Close()
	if world.okta, err = okta.New(dir); err != nil {
		world.noOkta = err.Error()
	} else {
		defer world.okta.Close()
	}

	world.vault, err = findVault()
	if err != nil {
		world.why = err.Error()
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, world.why)
			return 1
		}
		return m.Run()
	}
	var hasty *server
	world.hasty = sync.OnceValues(func() (_ *server, err error) {
		hasty, err = startDev(filepath.Join(dir, "hasty"), `default_max_request_duration = "10s"`)
		return hasty, err
	})
	defer func() {
		if hasty != nil {
			hasty.stop()
		}
	}()
	world.server, err = startDev(filepath.Join(dir, "vault"), "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer world.server.stop()
	return m.Run()
}

// findVault builds only when the test's own time limit allows it.
func findVault() (string, error) {
	ctx := context.Background()
	bin, says, err := vaultbin.FindOpenBao(ctx)
	if bin != "" || err != nil {
		fmt.Fprintln(os.Stderr, "the server and the CLI are", says)
		world.bao = bin != ""
		return bin, err
	}
	bin, err = vaultbin.Find(ctx)
	if !errors.Is(err, vaultbin.ErrMissing) {
		return bin, err
	}
	limit, _ := time.ParseDuration(flag.Lookup("test.timeout").Value.String())
	if limit > 0 && limit < 30*time.Minute {
		return "", fmt.Errorf("%w: run \"go run ./getvault\" in e2e first (10 to 15 minutes, once)", err)
	}
	fmt.Fprintln(os.Stderr, "building vault, which takes 10 to 15 minutes the first time")
	return vaultbin.Build(ctx, os.Stderr)
}

// buildStepup builds the binary under test once; STEPUP_E2E_BINARY names one to
// test instead. STEPUP_E2E_RACE=1 adds the race detector, whose complaints make
// the agent exit with 66.
func buildStepup() (string, error) {
	if bin := os.Getenv("STEPUP_E2E_BINARY"); bin != "" {
		return bin, nil
	}
	out := filepath.Join(world.dir, "stepup")
	args := []string{"build", "-o", out}
	if os.Getenv("STEPUP_E2E_RACE") == "1" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/stepup")...)
	cmd.Dir = ".."
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building stepup: %w\n%s", err, text)
	}
	return out, nil
}

// needVault skips what cannot run without the real server.
func needVault(t *testing.T) *server {
	t.Helper()
	if world.vault == "" {
		t.Skip("needs a real vault: " + world.why)
	}
	return world.server
}

// needHashiCorp skips what OpenBao does not have.
func needHashiCorp(t *testing.T, what string) {
	t.Helper()
	if world.bao {
		t.Skip("OpenBao has no " + what)
	}
}

// byServer is what differs between Vault and OpenBao.
func byServer[T any](vault, openBao T) T {
	if world.bao {
		return openBao
	}
	return vault
}

// parallel is needVault for a test that runs beside others.
func parallel(t *testing.T) *server {
	t.Helper()
	t.Parallel()
	return needVault(t)
}

// each runs the tests of a table beside each other.
func each[T any](t *testing.T, tests map[string]T, run func(*testing.T, T)) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, test)
		})
	}
}

// cleanEnv is the environment of every program that the tests start. Without a
// word about the session bus Vault starts one, and leaves it behind.
func cleanEnv(home string, more ...string) []string {
	env := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "DBUS_SESSION_BUS_ADDRESS=disabled:"}
	return append(env, more...)
}
