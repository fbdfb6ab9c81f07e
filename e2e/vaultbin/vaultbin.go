// Package vaultbin finds the vault binary that the tests run, and builds it
// from the version in go.mod.
package vaultbin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Version is the release that the facts of the tests were taken from; go.mod
// names the same one.
const Version = "v1.21.0"

// Variable names a binary to use instead of the one in the cache folder.
const Variable = "STEPUP_E2E_VAULT"

// OpenBaoVariable names a binary of OpenBao to run the tests against in place of Vault. None is built
// here: its modules cannot be had as Vault's can.
const OpenBaoVariable = "STEPUP_E2E_OPENBAO"

// ErrMissing is returned by Find when there is no binary in the cache folder yet.
var ErrMissing = errors.New("no vault binary")

// Find returns the path of a binary of Version: the one named by Variable, or
// the one that Build made.
func Find(ctx context.Context) (string, error) {
	bin, err := location()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(bin); errors.Is(err, os.ErrNotExist) && os.Getenv(Variable) == "" {
		return "", fmt.Errorf("%w at %s", ErrMissing, bin)
	}
	says, err := version(ctx, bin)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(says, "Vault "+Version+",") {
		return "", fmt.Errorf("%s is %q, the tests are for %s", bin, says, Version)
	}
	return bin, nil
}

// FindOpenBao returns the binary that OpenBaoVariable names, and what it says of its version; "" where
// none is named. Any version will do: one that was built without flags says another than its own.
func FindOpenBao(ctx context.Context) (bin, says string, err error) {
	bin = os.Getenv(OpenBaoVariable)
	if bin == "" {
		return "", "", nil
	}
	if says, err = version(ctx, bin); err != nil {
		return "", "", err
	}
	if !strings.HasPrefix(says, "OpenBao v") {
		return "", "", fmt.Errorf("%s is %q, which is no OpenBao", bin, says)
	}
	return bin, says, nil
}

func version(ctx context.Context, bin string) (string, error) {
	cmd := exec.CommandContext(ctx, bin, "version")
	// Without a word about the session bus Vault starts one, and leaves it behind.
	cmd.Env = append(os.Environ(), "DBUS_SESSION_BUS_ADDRESS=disabled:")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", bin, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Build compiles vault into the user's cache folder. It takes 10 to 15 minutes
// and 6 GB of Go's build cache the first time. It must run inside this module.
func Build(ctx context.Context, log io.Writer) (string, error) {
	if bin := os.Getenv(Variable); bin != "" {
		return "", fmt.Errorf("%s is set to %s, which is not built here", Variable, bin)
	}
	bin, err := location()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return "", err
	}
	// Renamed when complete, so that a broken-off build is never taken for one.
	part := bin + ".part"
	cmd := exec.CommandContext(ctx, "go", "build", "-o", part, "github.com/hashicorp/vault")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go build vault: %w", err)
	}
	return bin, os.Rename(part, bin)
}

func location() (string, error) {
	if bin := os.Getenv(Variable); bin != "" {
		return bin, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "stepup-e2e", "vault-"+Version, "vault")
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	return bin, nil
}
