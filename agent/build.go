package agent

import (
	"fmt"
	"net/http"

	"github.com/vault-stepup/stepup/agent/audit"
	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
)

// An upstream is everything that stands between a listener and one upstream.
type upstream struct {
	config    Vault
	transport *http.Transport
	client    *vault.Client
	handler   http.Handler
	resolver  *stepup.Resolver
	rules     rule.Rules
}

// parts are shared by all vaults.
type parts struct {
	tokens *tokens
	audit  *audit.Log
}

// auditor returns nil without an audit log, so that no requester is looked up for a
// record that is not written.
func (p parts) auditor() factor.Auditor {
	if p.audit == nil {
		return nil
	}
	return p.audit
}

func (a *Agent) buildVaults(c Config, store *tokens, log *audit.Log) (map[string]*upstream, error) {
	vaults := make(map[string]*upstream)
	for _, v := range c.Vaults {
		built, err := a.buildVault(c, v, parts{store, log})
		if err != nil {
			return nil, fmt.Errorf("vault %q: %w", v.Name, err)
		}
		vaults[v.Name] = built
	}
	return vaults, nil
}

func (a *Agent) buildVault(c Config, v Vault, with parts) (*upstream, error) {
	base, socket := vault.Base(v.Address)
	tls := v.TLS
	tls.Socket, tls.Dial, tls.ResponseHeaderTimeout = socket, a.loop.Dial, v.Timeout
	transport, err := vault.NewTransport(tls)
	if err != nil {
		return nil, err
	}
	way := metrics.Transport{Base: vault.Discreet{Base: transport}}
	client, err := vault.New(vault.Config{Name: v.Name, Address: v.Address, Transport: way, Timeout: v.Timeout})
	if err != nil {
		return nil, err
	}
	resolver := a.buildResolver(c, v, client, with)
	rules := rulesOf(c.Rules, v.Name)
	handler := relay.New(relay.Config{
		Vault:          v.Name,
		Address:        base,
		Namespace:      v.Namespace,
		Base:           way,
		Rules:          rules,
		LoginMFA:       c.LoginMFA,
		Mounts:         c.Mounts,
		MaxKept:        v.MaxKept,
		Budget:         a.bodies,
		Resolver:       metricsResolver{resolver, a.metrics},
		Unwrapper:      client,
		DenialObserver: a.suggester.Observer(v.Name),
		Log:            a.options.Log,
	})
	return &upstream{config: v, transport: transport, client: client, handler: handler, resolver: resolver, rules: rules}, nil
}

func (a *Agent) buildResolver(c Config, v Vault, client *vault.Client, with parts) *stepup.Resolver {
	return stepup.New(stepup.Config{
		Config: factor.Config{
			VaultName:   v.Name,
			Address:     v.Address.String(),
			Namespace:   v.Namespace,
			Asker:       timedAsker{a.broker},
			Methods:     c.Methods,
			FromSeed:    c.FromSeed,
			Commands:    c.Commands,
			Attempts:    c.Prompt.Attempts,
			Timeout:     c.Prompt.Timeout,
			Cooldown:    c.Prompt.Cooldown,
			NeverPrompt: c.Prompt.NeverPrompt,
			ConfirmPush: c.Prompt.ConfirmPush,
			State:       a.state,
			Identify:    a.identity.Identify,
			Audit:       with.auditor(),
			Log:         a.options.Log,
		},
		Vault:       client,
		Tokens:      granted{with.tokens.Layered, terms(c)},
		MaxTTL:      c.Cache.MaxTTL,
		Secrets:     a.secrets,
		Okta:        c.Mounts.Okta,
		Prefer:      c.Prefer,
		SinglePhase: c.SinglePhase,
		End:         func(caller stepup.Caller) { a.endings.end(with.tokens, caller) },
		Meter:       resolveMeter{a.metrics},
	})
}

// rulesOf are the rules that hold for a vault.
func rulesOf(all rule.Rules, vault string) rule.Rules {
	var own rule.Rules
	for _, r := range all {
		if r.Vault == "" || r.Vault == vault {
			own = append(own, r)
		}
	}
	return own
}
