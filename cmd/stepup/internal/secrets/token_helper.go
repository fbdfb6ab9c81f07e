package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/keyring"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// A tokenHelper keeps the token of a CLI in the keyring.
type tokenHelper struct {
	*cli.Console
	logins keyring.Items
}

// TokenHelper is stepup token-helper.
func TokenHelper(c *cli.Console) *cobra.Command {
	h := &tokenHelper{c, keyring.NewLogins(cli.Keyring())}
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

// get prints the token and nothing else, not even a line break: the CLI
// takes all of it. That there is none is no error.
func (h *tokenHelper) get(ctx context.Context, f vaultcli.CLI) error {
	at, err := h.place(ctx, f)
	if err != nil {
		return err
	}
	token, err := h.logins.Get(ctx, at.words()...)
	// A token is also good in the namespaces below its own.
	for errors.Is(err, keyring.ErrNotFound) && at.namespace != "" {
		at.namespace = parent(at.namespace)
		token, err = h.logins.Get(ctx, at.words()...)
	}
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	if err != nil {
		return cli.KeyringFailure(err, hintHelperOff(f))
	}
	_, err = io.WriteString(h.Out, token.Reveal())
	return err
}

func (h *tokenHelper) store(ctx context.Context, f vaultcli.CLI) error {
	const limit = 64 << 10 // more than the keyring takes
	text, err := io.ReadAll(io.LimitReader(h.In, limit))
	if err != nil {
		return fmt.Errorf("reading standard input: %w", err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case token == "":
		return errors.New("no token on standard input")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		// The Go client refuses to send it, with every later command.
		return errors.New("what is on standard input is no token: it has blanks or characters that cannot be printed")
	}
	at, err := h.place(ctx, f)
	if err != nil {
		return err
	}
	err = h.logins.Put(ctx, secret.Secret(token), at.words()...)
	if errors.Is(err, keyring.ErrTooLarge) {
		return errors.New("the token on standard input is too long for the keyring")
	}
	return cli.KeyringFailure(err, hintHelperOff(f))
}

func (h *tokenHelper) erase(ctx context.Context, f vaultcli.CLI) error {
	at, err := h.place(ctx, f)
	if err != nil {
		return err
	}
	return cli.KeyringFailure(h.logins.Delete(ctx, at.words()...), hintHelperOff(f))
}

// A place is what a token is for.
type place struct {
	server    string // its address, spelled in one way
	namespace string // "" is root
}

// words are the place in the keyring. Earlier releases kept one token for a server.
func (p place) words() []string {
	if p.namespace == "" {
		return []string{p.server}
	}
	return []string{p.server, p.namespace}
}

// parent is the namespace around one; "" is root.
func parent(namespace string) string {
	return namespace[:max(0, strings.LastIndexByte(namespace, '/'))]
}

// place is what the CLI's token is for: the Vault behind a listener of ours and the
// namespace there, else the server's own. Spelling does not matter.
func (h *tokenHelper) place(ctx context.Context, f vaultcli.CLI) (place, error) {
	variable, value := h.FirstEnv(f.Addresses)
	if variable == "" {
		value = vaultcli.DefaultServer
	}
	address, err := vaultcli.ParseServer(value)
	if err != nil {
		// The value is not shown: an address may carry a password.
		return place{}, fmt.Errorf("%s is not the address of a Vault server", variable)
	}
	_, namespace := h.FirstEnv(f.Namespaces)
	at := place{server: address.String(), namespace: rule.Namespace(namespace)}
	if !address.Local() {
		return at, nil
	}
	listeners, err := h.listeners(ctx)
	if err != nil {
		return place{}, err
	}
	for _, l := range listeners {
		if behind, err := vaultcli.ParseServer(l.Vault); err == nil && l.Serves(address) {
			return place{behind.String(), rule.Namespace(cmp.Or(namespace, l.Namespace))}, nil
		}
	}
	return at, nil
}

// listeners are those of the running agent, else those of the configuration. That
// there is neither is no error: the CLI may not be meant to reach us at all.
func (h *tokenHelper) listeners(ctx context.Context) ([]vaultcli.Listener, error) {
	// The agent asks its Vaults before it answers, for two seconds at most.
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if s, err := h.Client().Status(ctx); err == nil {
		return vaultcli.RunningListeners(s), nil
	}
	file := h.ConfigFile()
	if _, err := os.Stat(file); file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c, err := h.Load()
	if err != nil {
		return nil, err
	}
	return vaultcli.ConfiguredListeners(c), nil
}

// The help, and texts of several places.
const (
	textHelperLong = `A token helper of the Vault CLI: where "vault login" keeps the token, and where
every other command finds it. Without one that is the file ~/.vault-token, as
plain text, one for all servers. This one keeps it in the keyring of the
operating system, one for each namespace of each server, and never touches that
file.

  stepup token-helper enable     from now on
  vault login                    as ever

The token belongs to the server behind VAULT_ADDR (VAULT_AGENT_ADDR comes first,
as in Vault): where that is a listener of stepup, the Vault that it leads to. So
the same token is found through stepup and past it. It also belongs to the
namespace in VAULT_NAMESPACE; where none is kept for that namespace, the token
of the nearest one above it is found. The CLI does not tell a helper about
-address and -namespace: use the variables.

` + textNoHelper + `

Where there is no keyring, or it is locked, it fails and says so; it never falls
back to a file. In an SSH session no keyring is used.`

	textHelperEnableLong = `Writes the line token_helper = "…" into ~/.vault (or the file that
VAULT_CONFIG_PATH names) and leaves a line that names another helper as it is.
With --bao it is ~/.bao and BAO_CONFIG_PATH.

The CLI runs the helper with nothing but get, store or erase behind it. So the
line names a link to stepup, in the folder of stepup's configuration, and under
the name of the link stepup is the helper.

A token that is in ~/.vault-token stays there. The CLI does not use it any more:
run "vault login" again.

` + textNoHelper

	// Seen in the programs themselves; docs/clients.md has their versions.
	textNoHelper = `Other programs do not ask a token helper. sops, vals, Ansible, hvac,
consul-template and gomplate read VAULT_TOKEN and ~/.vault-token only. Give such
a program the kept token for one run:

  stepup exec --token -- sops decrypt secrets.yaml`

	textHelperDisableLong = `Takes the line that "enable" wrote out of the file again, and nothing else. The
file goes when it is empty. Tokens stay in the keyring.`
)

// hintHelperOff is the way back to what a CLI does without stepup.
func hintHelperOff(f vaultcli.CLI) string {
	command := "stepup token-helper disable"
	if f.Name == vaultcli.OpenBao().Name {
		command += " --bao"
	}
	return "`" + command + "` makes the CLI keep tokens in ~/.vault-token again"
}
