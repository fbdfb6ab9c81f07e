package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// A tokenHelper keeps the token of a CLI in the keyring.
type tokenHelper struct{ *cli.Console }

// TokenHelper is stepup token-helper.
func TokenHelper(c *cli.Console) *cobra.Command {
	h := &tokenHelper{c}
	var bao bool
	sub := func(c cobra.Command, run func(context.Context, vaultcli.CLI) error) *cobra.Command {
		c.Args = cli.Takes(0)
		c.RunE = func(cmd *cobra.Command, _ []string) error {
			f := vaultcli.Vault()
			if bao {
				f = vaultcli.OpenBao()
			}
			return run(cmd.Context(), f)
		}
		return &c
	}
	cmd := cli.Group(&cobra.Command{Use: "token-helper", Short: "keep the token of `vault login` in the keyring", Long: textHelperLong},
		sub(cobra.Command{Use: "get", Short: "print the token"}, h.get),
		sub(cobra.Command{Use: "store", Short: "keep the token from standard input"}, h.store),
		sub(cobra.Command{Use: "erase", Short: "forget the token"}, h.erase),
		sub(cobra.Command{Use: "enable", Short: "make the Vault CLI use it", Long: textHelperEnableLong}, h.enable),
		sub(cobra.Command{Use: "disable", Short: "make the Vault CLI keep the token in ~/.vault-token again", Long: textHelperDisableLong}, h.disable))
	cmd.PersistentFlags().BoolVar(&bao, "bao", false, "for the CLI of OpenBao: ~/.bao and the BAO_ variables")
	return cmd
}

func logins() keyring.Items { return keyring.NewLogins(cli.Keyring()) }

// get prints the token and nothing else, not even a line break: the CLI
// takes all of it. That there is none is no error.
func (h *tokenHelper) get(ctx context.Context, f vaultcli.CLI) error {
	server, err := h.server(ctx, f)
	if err != nil {
		return err
	}
	token, err := logins().Get(ctx, server)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	if err != nil {
		return cli.KeyringFailure(err, hintHelperOff)
	}
	_, err = io.WriteString(h.Out, token.Reveal())
	return err
}

// maxLogin is more than the keyring takes.
const maxLogin = 64 << 10

func (h *tokenHelper) store(ctx context.Context, f vaultcli.CLI) error {
	text, err := io.ReadAll(io.LimitReader(h.In, maxLogin))
	if err != nil {
		return fmt.Errorf("reading standard input: %w", err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case token == "":
		return errors.New("no token on standard input")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("what is on standard input is no token: it has blanks or characters that cannot be printed") // the Go client refuses to send it, with every later command
	}
	server, err := h.server(ctx, f)
	if err != nil {
		return err
	}
	err = logins().Put(ctx, secret.Secret(token), server)
	if errors.Is(err, keyring.ErrTooLarge) {
		return errors.New("the token on standard input is too long for the keyring")
	}
	return cli.KeyringFailure(err, hintHelperOff)
}

func (h *tokenHelper) erase(ctx context.Context, f vaultcli.CLI) error {
	server, err := h.server(ctx, f)
	if err != nil {
		return err
	}
	return cli.KeyringFailure(logins().Delete(ctx, server), hintHelperOff)
}

// The help, and texts of several places.
const (
	textHelperLong = `A token helper of the Vault CLI: where "vault login" keeps the token, and where
every other command finds it. Without one that is the file ~/.vault-token, as
plain text, one for all servers. This one keeps it in the keyring of the
operating system, one for each server, and never touches that file.

  stepup token-helper enable     from now on
  vault login                    as ever

The token belongs to the server behind VAULT_ADDR (VAULT_AGENT_ADDR comes first,
as in Vault): where that is a listener of stepup, the Vault that it leads to. So
the same token is found through stepup and past it. The CLI does not tell a
helper about -address: use the variable.

Where there is no keyring, or it is locked, it fails and says so; it never falls
back to a file. In an SSH session no keyring is used.`

	textHelperEnableLong = `Writes the line token_helper = "…" into ~/.vault (or the file that
VAULT_CONFIG_PATH names) and leaves a line that names another helper as it is.
With --bao it is ~/.bao and BAO_CONFIG_PATH.

The CLI runs the helper with nothing but get, store or erase behind it. So the
line names a link to stepup, in the folder of stepup's configuration, and under
the name of the link stepup is the helper.

A token that is in ~/.vault-token stays there, and is not used any more: run
"vault login" again, and delete the file.`

	textHelperDisableLong = `Takes the line that "enable" wrote out of the file again, and nothing else. The
file goes when it is empty. Tokens stay in the keyring.`

	hintHelperOff = "`stepup token-helper disable` makes the CLI keep tokens in ~/.vault-token again"
)
