package agent

import (
	"context"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/peer"
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
	verdict := v.resolver.Obtain(asOurs(ctx), r, namespace, o.Token)
	metricsResolver{v.resolver, a.metrics}.count(r, string(verdict.Outcome))
	return control.Obtained{Outcome: string(verdict.Outcome), Message: verdict.Message}, nil
}

// ourName is what the kernel calls a process of this program.
const ourName = "stepup"

// asOurs keeps the question of stepup exec from saying that a program hides: each
// process of ours does. A program that takes the name gains nothing, because it can as
// well run stepup exec. On a unix socket the kernel tells the process and its parents.
func asOurs(ctx context.Context) context.Context {
	return peer.NewContext(ctx, func() peer.Peer {
		p := peer.FromContext(ctx)
		if p.Hidden && p.PID != 0 && p.Exe == "" && len(p.Chain) > 0 && p.Chain[0] == ourName {
			p.Hidden = false
		}
		return p
	})
}

// rule finds a rule of this vault by its name; nil means none.
func (v *upstream) rule(name string) *rule.Rule {
	for i := range v.rules {
		if v.rules[i].Name == name {
			return &v.rules[i]
		}
	}
	return nil
}
