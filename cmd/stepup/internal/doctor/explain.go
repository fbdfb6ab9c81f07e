package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// An explainer is stepup doctor PATH.
type explainer struct{ *cli.Console }

// explainOptions are the flags of doctor PATH.
type explainOptions struct {
	operation string
	namespace string // "" is VAULT_NAMESPACE, else the one of the vault block
	vault     string // "" is the only one
	format    *cli.Format
}

// explainFlags gives cmd the flags that belong to PATH.
func (a *explainer) explainFlags(cmd *cobra.Command, f *cli.Format) *explainOptions {
	o := &explainOptions{format: f}
	flags := cmd.Flags()
	flags.StringVar(&o.operation, "operation", string(rule.Read), "the capability word of the request")
	flags.StringVar(&o.namespace, "namespace", "", "namespace of the request (default: VAULT_NAMESPACE)")
	flags.StringVar(&o.vault, "vault", "", "name of the vault block, where there are several")
	var words []string
	for _, op := range rule.Operations() {
		words = append(words, string(op))
	}
	cli.CompleteFlag(cmd, "operation", cli.CompleteWords(words...))
	cli.CompleteFlag(cmd, "vault", a.CompleteVault)
	return o
}

// checkExplain refuses flags that have no meaning with, or without, a PATH.
func checkExplain(cmd *cobra.Command, path bool) error {
	if path && cmd.Flags().Changed("test-prompt") {
		return cli.Usage(errPathNoPrompt, cli.SeeHelp(cmd.CommandPath()))
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
func (a *explainer) explain(cmd *cobra.Command, path string, o explainOptions) error {
	x := control.Explain{
		Path: path, Operation: o.operation, Vault: o.vault,
		Namespace: cmp.Or(o.namespace, a.Env("VAULT_NAMESPACE"), a.Env("BAO_NAMESPACE")),
	}
	e, err := a.explained(cmd.Context(), x)
	switch {
	case errors.Is(err, control.ErrNoPath):
		return cli.Usage(errNoPath(path, o.operation), "write it as in a policy, such as kv/data/prod/db, and an operation such as read")
	case errors.Is(err, control.ErrNoVault):
		return cli.Usage(errNoVaultNamed(o.vault), "name one with --vault; `stepup config check` says what is declared")
	case err != nil:
		return err
	}
	if *o.format == cli.FormatJSON {
		return cli.WriteJSON(a.Out, explanation{e.Complete(), wouldHappen(e, time.Now())})
	}
	_, err = io.WriteString(a.Out, explainText(e, time.Now()))
	return err
}

// explanation is the result of --format json.
type explanation struct {
	control.Explanation
	Would []string `json:"would"` // what would happen, for people
}

// explained asks the agent, or makes of the configuration what can be told
// without one.
func (a *explainer) explained(ctx context.Context, x control.Explain) (control.Explanation, error) {
	client := a.Client()
	// Whether there is an agent first: without one the token is of no use, and its
	// helper might ask for a finger.
	if _, err := client.Listeners(ctx); errors.Is(err, control.ErrNoAgent) {
		return a.explainedAlone(x)
	}
	token, err := vaultcli.Token(ctx, a.Console, os.Environ())
	if err != nil && !errors.Is(err, vaultcli.ErrNoToken) {
		a.Notify("stepup: going on without a token: %v", err)
	}
	x.Token = token
	e, err := client.Explain(ctx, x)
	if errors.Is(err, control.ErrNoAgent) {
		return a.explainedAlone(x)
	}
	return e, err
}

func (a *explainer) explainedAlone(x control.Explain) (control.Explanation, error) {
	c, err := a.Load()
	if err != nil {
		return control.Explanation{}, err
	}
	x.Token = secret.Secret("")
	return agent.Explain(setup.Agent(c, a.ConfigFile(), slog.New(slog.DiscardHandler)), x)
}
