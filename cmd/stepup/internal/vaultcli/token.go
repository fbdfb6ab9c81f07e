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

// Token finds the token that a command will use, in the order of the program that [Told] names:
// the variable, the token helper, ~/.vault-token; and after that in the places of OpenBao's. The
// helper runs with environ, which has the address that the command is told. Without a token the
// error wraps [ErrNoToken].
func Token(ctx context.Context, from *cli.Console, environ []string) (secret.Secret, error) {
	told := Told(from)
	if _, token := from.FirstEnv(told.tokens); token != "" {
		return secret.Secret(token), nil
	}
	text, place, err := told.stored(ctx, from, environ)
	if err == nil && place == "" && len(bytes.TrimSpace(text)) == 0 {
		text, err = readTokenFile(from.Env)
	}
	if err == nil && len(bytes.TrimSpace(text)) == 0 && told.Name != OpenBao().Name {
		text, _, err = OpenBao().stored(ctx, from, environ)
	}
	if err != nil {
		return "", err
	}
	return found(from, text)
}

// stored is what the token helper of the program has, or the file that its variable names.
// place says which; it is "" where the token is in ~/.vault-token, if anywhere.
func (f CLI) stored(ctx context.Context, from *cli.Console, environ []string) (text []byte, place string, err error) {
	c, err := f.ReadConfig(from)
	if err != nil {
		return nil, "", err
	}
	if c.Helper != "" {
		text, err = askHelper(ctx, []string{c.Helper}, environ, from.Err)
		return text, c.Helper, err
	}
	if _, file := from.FirstEnv(f.tokenFile); file != "" {
		text, err = readFile(file)
		return text, file, err
	}
	return nil, "", nil
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
	return readFile(filepath.Join(home, ".vault-token"))
}

// readFile is the text of a file; one that is not there is empty.
func readFile(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
