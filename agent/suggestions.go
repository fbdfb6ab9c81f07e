package agent

import (
	"context"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/suggest"
	"github.com/vault-stepup/stepup/cache/secret"
)

// newSuggester returns a suggester that asks the vaults as they are configured at the
// time of the question.
func (a *Agent) newSuggester() *suggest.Suggester {
	return suggest.New(suggest.Config{
		Identify: func(token secret.Secret) string { return a.identity.Identify(token) }, // set by Run
		Capabilities: func(ctx context.Context, name string, q rule.Request, token secret.Secret) ([]string, error) {
			a.mu.Lock()
			v, ok := a.vaults[name]
			a.mu.Unlock()
			if !ok {
				return nil, errNotRunning
			}
			return v.client.Capabilities(ctx, token, q.Namespace, q.Path)
		},
		Found: func(one control.Suggestion) {
			a.options.Log.Info("vault refused what its policies grant: it probably wants a second factor, and no rule names the path; `stepup status` has one to paste",
				"vault", one.Vault, "namespace", one.Namespace, "path", one.Path, "operations", one.Operations)
		},
	})
}

// suggestions returns the rules to paste under a configuration and its vaults.
func (a *Agent) suggestions(c Config, vaults map[string]*upstream) []control.Suggestion {
	known := suggest.Known{Vaults: make(map[string]rule.Rules), Methods: c.Methods}
	for name, v := range vaults {
		known.Vaults[name] = v.rules
	}
	return a.suggester.List(known)
}
