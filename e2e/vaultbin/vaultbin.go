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
	version := exec.CommandContext(ctx, bin, "version")
	// Without a word about the session bus Vault starts one, and leaves it behind.
	version.Env = append(os.Environ(), "DBUS_SESSION_BUS_ADDRESS=disabled:")
	out, err := version.Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", bin, err)
	}
	if !strings.HasPrefix(string(out), "Vault "+Version+",") {
		return "", fmt.Errorf("%s is %q, the tests are for %s", bin, strings.TrimSpace(string(out)), Version)
	}
	return bin, nil
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
