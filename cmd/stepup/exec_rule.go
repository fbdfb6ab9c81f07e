package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// stepUp gets the token of a rule before the command starts, so that nothing
// interrupts it later.
func (x *execution) stepUp(ctx context.Context) error {
	token, err := vaultcli.Token(ctx, x.Console, x.environ(os.Environ()))
	if errors.Is(err, vaultcli.ErrNoToken) && !x.knownRule(ctx) {
		return x.noRule() // no login would help
	}
	if err != nil {
		return err
	}
	got, err := x.client.Obtain(ctx, control.Obtain{
		Rule: x.rule, Vault: x.vaultName, Namespace: cmp.Or(x.Env("VAULT_NAMESPACE"), x.Env("BAO_NAMESPACE")), Token: token,
	})
	switch {
	case errors.Is(err, control.ErrHeaderGrant):
		return cli.Usage(fmt.Errorf("rule %s has a header grant or none: it is asked about with each request", cli.Printable(x.rule)), "leave --rule out, or give the rule a token or login grant")
	case errors.Is(err, control.ErrNoRule):
		return x.noRule()
	case err != nil:
		return err
	case got.OK():
		return nil
	}
	failed := &cli.Error{Err: fmt.Errorf("not stepped up, the command was not started: %s", cli.Printable(strings.TrimPrefix(got.Message, "stepup: "))), Code: cli.ExitFailed}
	switch got.Outcome {
	case "denied", "timeout", "rejected":
		failed.Code = cli.ExitRefused
	}
	return failed
}

func (x *execution) noRule() error {
	return cli.Usage(fmt.Errorf("no rule %s for vault %s", cli.Printable(x.rule), cli.Printable(x.vaultName)), "rules are the step_up blocks of the configuration")
}

// knownRule reports whether the agent has the rule, for any vault; it is true
// where the agent does not say.
func (x *execution) knownRule(ctx context.Context) bool {
	s, err := x.client.Status(ctx)
	return err != nil || slices.ContainsFunc(s.Rules, func(r control.Rule) bool { return r.Name == x.rule })
}
