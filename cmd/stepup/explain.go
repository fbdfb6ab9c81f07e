package main

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
	"github.com/vault-stepup/stepup/cache"
)

// explainOptions are the flags of doctor PATH.
type explainOptions struct {
	operation string
	namespace string // "" is VAULT_NAMESPACE, else the one of the vault block
	vault     string // "" is the only one
	format    *format
}

// explainFlags are the flags that belong to PATH.
func (a *app) explainFlags(cmd *cobra.Command, f *format) *explainOptions {
	o := &explainOptions{format: f}
	flags := cmd.Flags()
	flags.StringVar(&o.operation, "operation", string(rule.Read), textExplainOperation)
	flags.StringVar(&o.namespace, "namespace", "", textExplainNamespace)
	flags.StringVar(&o.vault, "vault", "", textExplainVault)
	var words []string
	for _, op := range rule.Operations() {
		words = append(words, string(op))
	}
	completeFlag(cmd, "operation", completeWords(words...))
	completeFlag(cmd, "vault", a.completeVault)
	return o
}

// checkExplain refuses flags that have no meaning with, or without, a PATH.
func checkExplain(cmd *cobra.Command, path bool) error {
	if path && cmd.Flags().Changed("test-prompt") {
		return usage(errPathNoPrompt, seeHelp(cmd.CommandPath()))
	}
	for _, name := range []string{"operation", "namespace", "vault"} {
		if !path && cmd.Flags().Changed(name) {
			return usage(fmt.Errorf(textNeedsPath, name), seeHelp(cmd.CommandPath()))
		}
	}
	return nil
}

// explain says what would happen to a request for a path, and why. It changes
// nothing and asks nobody.
func (a *app) explain(cmd *cobra.Command, path string, o explainOptions) error {
	x := control.Explain{
		Path: path, Operation: o.operation, Vault: o.vault,
		Namespace: cmp.Or(o.namespace, a.env("VAULT_NAMESPACE"), a.env("BAO_NAMESPACE")),
	}
	e, err := a.explained(cmd.Context(), x)
	switch {
	case errors.Is(err, control.ErrNoPath):
		return usage(errNoPath(path, o.operation), hintNoPath)
	case errors.Is(err, control.ErrNoVault):
		return usage(errNoVaultNamed(o.vault), hintWhichVault)
	case err != nil:
		return err
	}
	if *o.format == formatJSON {
		return writeJSON(a.out, explanation{e.Complete(), wouldHappen(e, time.Now())})
	}
	_, err = io.WriteString(a.out, explainText(e, time.Now()))
	return err
}

// explanation is the result of --format json.
type explanation struct {
	control.Explanation
	Would []string `json:"would"` // what would happen, for people
}

// explained asks the agent, or makes of the configuration what can be told
// without one.
func (a *app) explained(ctx context.Context, x control.Explain) (control.Explanation, error) {
	client := a.client()
	// Whether there is an agent first: without one the token is of no use, and its
	// helper might ask for a finger.
	if _, err := client.Listeners(ctx); errors.Is(err, control.ErrNoAgent) {
		return a.explainedAlone(x)
	}
	token, err := a.callerToken(ctx, os.Environ())
	if err != nil && !errors.Is(err, errNoToken) {
		a.notify(textNoTokenFound, err)
	}
	x.Token = token
	e, err := client.Explain(ctx, x)
	if errors.Is(err, control.ErrNoAgent) {
		return a.explainedAlone(x)
	}
	return e, err
}

func (a *app) explainedAlone(x control.Explain) (control.Explanation, error) {
	c, err := a.load()
	if err != nil {
		return control.Explanation{}, err
	}
	x.Token = cache.Secret("")
	return agent.Explain(settings(c, a.configFile(), slog.New(slog.DiscardHandler)), x)
}
