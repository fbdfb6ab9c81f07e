package agent

import (
	"context"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/rule"
)

// obtain steps up to the token of a rule before a request needs it, for the
// control socket.
func (a *Agent) obtain(ctx context.Context, o control.Obtain) (control.Obtained, error) {
	a.mu.Lock()
	name, ok := a.vaultNamedLocked(o.Vault)
	v := a.vaults[name]
	a.mu.Unlock()
	if !ok {
		return control.Obtained{}, control.ErrNoVault
	}
	r := v.rule(o.Rule)
	switch {
	case r == nil:
		return control.Obtained{}, control.ErrNoRule
	case !r.Grant.Mints():
		return control.Obtained{}, control.ErrHeaderGrant
	}
	// As the relay does it for a request: its cached token is found only under
	// the same namespace.
	namespace := o.Namespace
	if namespace == "" {
		namespace = v.config.Namespace
	}
	verdict := v.resolver.Obtain(ctx, r, namespace, o.Token)
	metricsResolver{v.resolver, a.metrics}.count(r, verdict)
	return control.Obtained{Outcome: string(verdict.Outcome), Message: verdict.Message}, nil
}

// rule finds a rule of this vault by its name; nil means none.
func (v *vault) rule(name string) *rule.Rule {
	for i := range v.rules {
		if v.rules[i].Name == name {
			return &v.rules[i]
		}
	}
	return nil
}
