package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// maxPassword is more than Vault's own limit for one.
const maxPassword = 4 << 10

var errNoKeyring = errors.New("there is no keyring")

// secrets fetches what the person has given to stepup to keep, or told it how to
// get. It implements stepup.Secrets.
type secrets struct {
	keyring keyring.Keyring // nil if there is none
}

var _ stepup.Secrets = (*secrets)(nil)

// Password implements stepup.Secrets.
func (s *secrets) Password(ctx context.Context, vault string, g rule.Grant) (secret.Secret, error) {
	if s.keyring == nil {
		return "", keyring.ErrNotFound
	}
	return keyring.NewPasswords(s.keyring).Get(ctx, vault, g.Path)
}

// Keep implements stepup.Secrets.
func (s *secrets) Keep(ctx context.Context, vault string, g rule.Grant, password secret.Secret) error {
	switch {
	case s.keyring == nil:
		return errNoKeyring
	case password == "":
		return keyring.NewPasswords(s.keyring).Delete(ctx, vault, g.Path)
	}
	return keyring.NewPasswords(s.keyring).Put(ctx, password, vault, g.Path)
}

// Code implements stepup.Secrets.
func (s *secrets) Code(ctx context.Context, method string, now time.Time) (secret.Secret, time.Duration, error) {
	if s.keyring == nil {
		return "", 0, errNoKeyring
	}
	return keyring.NewSeeds(s.keyring).Code(ctx, method, now)
}

// Run implements stepup.Secrets: a program of the user, without a shell, and the
// first line of its output. What it prints is never repeated in an error.
func (s *secrets) Run(ctx context.Context, args []string, said func(line string)) (secret.Secret, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // named in the person's own configuration
	cmd.Env = prompt.Environ()
	cmd.WaitDelay = time.Second
	out := prompt.LimitedText{Limit: maxPassword}
	cmd.Stdout, cmd.Stderr = &out, &prompt.LineWriter{Said: said}
	// A program that it leaves behind keeps the pipe open: what was printed counts.
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", fmt.Errorf("%s: %w", filepath.Base(args[0]), err)
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s printed nothing", filepath.Base(args[0]))
	}
	return secret.Secret(line), nil
}
