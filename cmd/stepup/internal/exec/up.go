package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// Up is stepup up.
func Up(c *cli.Console) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "up RULE", Short: "step up ahead, before a program needs it", Long: textUpLong, Args: cli.Takes(0, "RULE"),
		ValidArgsFunction: c.CompleteOneRule,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.rule = args[0]
			return runUp(cmd.Context(), c, o)
		},
	}
	cmd.Flags().StringVar(&o.vault, "vault", "", "name of the vault block, where there are several")
	cli.CompleteFlag(cmd, "vault", c.CompleteVault)
	return cmd
}

// runUp gets the token of a rule from the agent that is running, and asks on this terminal.
// An agent of its own would end with it, and the token with that.
func runUp(ctx context.Context, c *cli.Console, o options) error {
	signals, starting := newSignalForwarder(ctx)
	defer signals.stop()
	x := &execution{Console: c, options: o, life: ctx, signals: signals}
	defer x.finish()
	x.client, x.runtimeDir = c.Client(), c.RuntimeDir()
	awaitReload(starting, x.Console, x.client.Status)
	listeners, err := x.client.Listeners(starting)
	if err == nil {
		err = x.choose(listeners)
	}
	if err != nil {
		return err
	}
	x.attach(starting)
	got, err := x.obtain(starting)
	switch sig, ok := errors.AsType[interrupted](context.Cause(starting)); {
	case ok && err != nil:
		return &cli.Error{Err: cli.ErrReported, Code: sig.code()}
	case err != nil:
		return err
	case !got.OK():
		return notSteppedUp(got, "not stepped up: ")
	}
	c.Say("%s", upText(x.rule, got, time.Now()))
	return nil
}

func upText(rule string, got control.Obtained, now time.Time) string {
	text := "stepped up: "
	if got.Outcome == "cached" {
		text = "stepped up already: "
	}
	text += cli.Printable(rule)
	if !got.Expires.IsZero() {
		text += ", " + cli.Duration(got.Expires.Sub(now)) + " left"
	}
	if got.Scope != "" {
		text += ", for " + cli.Printable(got.Scope)
	}
	if got.Confirm {
		text += "; each request still needs your yes"
	}
	return text
}

// notSteppedUp is the error for a no, behind the words for what did not happen.
func notSteppedUp(got control.Obtained, words string) error {
	failed := &cli.Error{Err: fmt.Errorf("%s%s", words, cli.Printable(strings.TrimPrefix(got.Message, "stepup: "))), Code: cli.ExitFailed}
	switch got.Outcome {
	case "denied", "timeout", "rejected":
		failed.Code = cli.ExitRefused
	}
	return failed
}

const textUpLong = `Steps up under RULE, the name of a step_up block with a token or login grant, so
that no program is interrupted by the question later:

  stepup up prod-deploy && terraform apply

It uses the token that your programs use (VAULT_TOKEN, the token helper or
~/.vault-token) and asks on this terminal, beside the other places where the
agent asks. "stepup status" shows how long it lasts, "stepup lock RULE" ends it.

Exits with 0 when the step-up is there, 3 when you were asked and said no or did
not answer, and 4 when no agent runs.`
