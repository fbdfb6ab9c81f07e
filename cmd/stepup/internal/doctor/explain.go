package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// explainFlags gives cmd the flags that belong to PATH. The result has their values
// when cmd runs.
func explainFlags(c *cli.Console, cmd *cobra.Command) *control.Explain {
	var x control.Explain
	flags := cmd.Flags()
	flags.StringVar(&x.Operation, "operation", string(rule.Read), "the capability word of the request")
	flags.StringVar(&x.Namespace, "namespace", "", "namespace of the request (default: VAULT_NAMESPACE)")
	flags.StringVar(&x.Vault, "vault", "", "name of the vault block, where there are several")
	cli.CompleteFlag(cmd, "operation", cli.CompleteWords(operationWords()...))
	cli.CompleteFlag(cmd, "vault", c.CompleteVault)
	return &x
}

func operationWords() (all []string) {
	for _, op := range rule.Operations() {
		all = append(all, string(op))
	}
	return all
}

// checkFlags refuses flags that have no meaning with, or without, a PATH.
func checkFlags(cmd *cobra.Command, path bool) error {
	if path && cmd.Flags().Changed("test-prompt") {
		return cli.Usage(errors.New("--test-prompt goes without a PATH"), cli.SeeHelp(cmd.CommandPath()))
	}
	for _, name := range []string{"operation", "namespace", "vault"} {
		if !path && cmd.Flags().Changed(name) {
			return cli.Usage(fmt.Errorf("--%s needs a PATH", name), cli.SeeHelp(cmd.CommandPath()))
		}
	}
	return nil
}

// explain says what would happen to a request for a path, and why. It changes
// nothing and asks no question.
func explain(ctx context.Context, c *cli.Console, x control.Explain, format string) error {
	x.Namespace = cmp.Or(x.Namespace, c.Env("VAULT_NAMESPACE"), c.Env("BAO_NAMESPACE"))
	e, err := explanation(ctx, c, x)
	switch {
	case errors.Is(err, control.ErrNoPath):
		return cli.Usage(fmt.Errorf("%s of %s is no request to Vault", cli.Printable(x.Operation), cli.Printable(x.Path)),
			"write the path as in a policy, such as kv/data/prod/db; the operations are "+strings.Join(operationWords(), ", "))
	case errors.Is(err, control.ErrNoVault) && x.Vault == "":
		return cli.Usage(errors.New("there are several vaults"), vaultHint(c))
	case errors.Is(err, control.ErrNoVault):
		return cli.Usage(fmt.Errorf("no vault %s", cli.Printable(x.Vault)), vaultHint(c))
	case err != nil:
		return err
	}
	if format == cli.FormatJSON {
		return cli.WriteJSON(c.Out, struct {
			control.Explanation
			Would []string `json:"would"` // what would happen, for people
		}{e.Complete(), wouldHappen(e)})
	}
	_, err = io.WriteString(c.Out, explainText(e, time.Now()))
	return err
}

// vaultHint says which vaults there are, as far as the configuration can be read.
func vaultHint(c *cli.Console) string {
	if loaded, err := c.Load(); err == nil {
		return cli.VaultHint(loaded.Vaults)
	}
	return "name one with --vault; `stepup status` shows them"
}

// explanation asks the agent, or makes of the configuration what can be told
// without one.
func explanation(ctx context.Context, c *cli.Console, x control.Explain) (e control.Explanation, err error) {
	client := c.Client()
	// Whether there is an agent first: without one the token is of no use, and its
	// helper might ask for a finger.
	// The file that --config names may be none of the agent's.
	err = control.ErrNoAgent
	if c.ConfigFlag == "" {
		_, err = client.Listeners(ctx)
	}
	if !errors.Is(err, control.ErrNoAgent) {
		x.Token, err = vaultcli.Token(ctx, c, os.Environ())
		if err != nil && !errors.Is(err, vaultcli.ErrNoToken) {
			c.Notify("stepup: going on without a token: %v", err)
		}
		e, err = client.Explain(ctx, x)
	}
	if !errors.Is(err, control.ErrNoAgent) {
		return e, err
	}
	settings, err := c.Load()
	if err != nil {
		return e, err
	}
	x.Token = ""
	return agent.Explain(*settings, x)
}
