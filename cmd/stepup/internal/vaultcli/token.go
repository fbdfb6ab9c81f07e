package vaultcli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

const (
	// helperLimit bounds a token helper; it may ask for a finger.
	helperLimit = 60 * time.Second
	maxToken    = 64 << 10
)

// ErrNoToken: none of the places has a token.
var ErrNoToken = errors.New("there is no token to step up with")

// Token finds the token that a command will use, as the Vault CLI does: VAULT_TOKEN,
// the token helper, ~/.vault-token; and then the token helper of OpenBao's CLI. environ is for
// the helper, which needs the address that the command is told. Without a token the error wraps
// [ErrNoToken].
func Token(ctx context.Context, from *cli.Console, environ []string) (secret.Secret, error) {
	if _, token := from.FirstEnv([]string{"VAULT_TOKEN", "BAO_TOKEN"}); token != "" {
		return secret.Secret(token), nil
	}
	c, err := Vault().ReadConfig(from)
	if err != nil {
		return "", err
	}
	var text []byte
	if c.Helper != "" {
		text, err = askHelper(ctx, []string{c.Helper}, environ, from.Err)
	} else {
		text, err = readTokenFile(from.Env)
	}
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		text, err = askOpenBao(ctx, from, environ)
	}
	if err != nil {
		return "", err
	}
	return found(from, text)
}

// askOpenBao asks the token helper of bao, if it has one.
func askOpenBao(ctx context.Context, from *cli.Console, environ []string) ([]byte, error) {
	c, err := OpenBao().ReadConfig(from)
	if err != nil || c.Helper == "" {
		return nil, err
	}
	return askHelper(ctx, []string{c.Helper}, environ, from.Err)
}

// KeptToken is that of stepup's own token helper, also where no CLI uses it.
func KeptToken(ctx context.Context, from *cli.Console, environ []string) (secret.Secret, error) {
	self, err := cli.ProgramPath()
	if err != nil {
		return "", err
	}
	text, err := askHelper(ctx, []string{self, "token-helper"}, environ, from.Err)
	if err != nil {
		return "", err
	}
	return found(from, text)
}

func found(from *cli.Console, text []byte) (secret.Secret, error) {
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", &cli.Error{Err: ErrNoToken, Hint: "log in first (`" + InUse(from).Name + " login`), or set VAULT_TOKEN"}
	}
	return secret.Secret(text), nil
}

// askHelper runs a token helper, with its own arguments first.
func askHelper(ctx context.Context, helper, environ []string, stderr io.Writer) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, helper[0], append(helper[1:len(helper):len(helper)], "get")...) //nolint:gosec // named in the person's own configuration
	cmd.Env = environ
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second
	out := cli.LimitedText{Limit: maxToken}
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("token helper %s: %w", cli.Printable(strings.Join(helper, " ")), err)
	}
	return []byte(out.String()), nil
}

// HasTokenFile reports whether there is a ~/.vault-token.
func HasTokenFile(env func(string) string) bool {
	text, err := readTokenFile(env)
	return err == nil && len(bytes.TrimSpace(text)) > 0
}

func readTokenFile(env func(string) string) ([]byte, error) {
	home, err := homeDir(env)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(home, ".vault-token"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
