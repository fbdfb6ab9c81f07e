package agent

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/vault-stepup/stepup/agent/express"
	"github.com/vault-stepup/stepup/agent/metrics"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache"
)

// An upstream is everything that stands between a listener and one upstream.
type upstream struct {
	config    Vault
	transport *vault.Transport
	route     *express.Route // nil where every request takes the long way
	client    *vault.Client
	handler   http.Handler
	resolver  *stepup.Resolver
	rules     rule.Rules
}

// A builder builds what stands between the listeners and the vaults of a generation.
type builder struct {
	agent *Agent
	next  generation
}

// auditor returns nil without an audit log, so that no requester is looked up for a
// record that is not written.
func (b builder) auditor() factor.Auditor {
	if b.next.audit == nil {
		return nil
	}
	return b.next.audit
}

func (b builder) vaults() (map[string]*upstream, error) {
	vaults := make(map[string]*upstream)
	for _, v := range b.next.config.Vaults {
		built, err := b.vault(v)
		if err != nil {
			return nil, fmt.Errorf("vault %q: %w", v.Name, err)
		}
		vaults[v.Name] = built
	}
	return vaults, nil
}

func (b builder) vault(v Vault) (*upstream, error) {
	a, c := b.agent, b.next.config
	base, way := v.TLS.For(v.Address)
	way.Dial, way.ResponseHeaderTimeout, way.IdleTimeout = a.loop.Dial, v.Timeout, v.IdleTimeout
	transport, err := vault.NewTransport(way)
	if err != nil {
		return nil, err
	}
	observed := metrics.Transport{Base: vault.RedactingTransport{Base: transport}}
	client, err := vault.New(vault.Config{Name: v.Name, Address: v.Address, Transport: observed, Timeout: v.Timeout})
	if err != nil {
		return nil, err
	}
	resolver := b.resolver(v, client)
	rules := rulesOf(c.Rules, v.Name)
	handler := relay.New(relay.Config{
		Vault:          v.Name,
		Address:        base,
		Namespace:      v.Namespace,
		Base:           metrics.Transport{Base: vault.RedactingTransport{Base: express.Transport{Base: transport}}},
		Rules:          rules,
		LoginMFA:       c.LoginMFA.Enabled,
		Mounts:         c.LoginMFA.mounts(),
		MaxKept:        maxKept(v.MaxBody),
		Budget:         a.bodies,
		Resolver:       metricsResolver{resolver, a.metrics},
		Unwrapper:      client,
		DenialObserver: a.suggester.Observer(v.Name),
		Log:            a.options.Log,
	})
	built := &upstream{config: v, transport: transport, client: client, handler: handler, resolver: resolver, rules: rules}
	if dialer := vault.NewDialer(transport, base); c.Relay.Express && dialer != nil {
		built.route = express.NewRoute(express.Config{
			Taken:       b.taken(v.Name),
			Host:        base.Host,
			Base:        strings.TrimSuffix(base.EscapedPath(), "/"),
			Namespace:   v.Namespace,
			Dialer:      dialer,
			Decide:      handler.Decide,
			Timeout:     transport.HTTP().ResponseHeaderTimeout,
			MaxOpen:     maxOpen(base),
			IdleTimeout: cmp.Or(v.IdleTimeout, vault.DefaultIdleTimeout),
			Fresh:       vault.Fresh,
		})
	}
	return built, nil
}

// taken is how many requests to a vault took the express lane before this generation.
func (b builder) taken(vault string) int64 {
	if before, ok := b.agent.current.vaults[vault]; ok {
		return before.route.Taken()
	}
	return 0
}

// maxSecure is how many connections with TLS are worth their handshakes. Over HTTP/2, which
// most servers speak then, one serves many requests.
const maxSecure = 512

func maxOpen(base *url.URL) int {
	if base.Scheme == "https" {
		return maxSecure
	}
	return 0
}

func (b builder) resolver(v Vault, client *vault.Client) *stepup.Resolver {
	a, c := b.agent, b.next.config
	commands, fromSeed := make(map[string][]string), make(map[string]bool)
	for _, m := range c.Methods {
		commands[m.Name], fromSeed[m.Name] = m.PasscodeCommand, m.PasscodeSource == "keyring"
	}
	return stepup.New(stepup.Config{
		Config: factor.Config{
			VaultName:   v.Name,
			Address:     v.Address.String(),
			Namespace:   v.Namespace,
			Asker:       timedAsker{a.broker},
			Methods:     c.methods(),
			FromSeed:    fromSeed,
			Commands:    commands,
			Attempts:    c.Prompt.Attempts,
			Timeout:     c.Prompt.Timeout,
			Cooldown:    c.Prompt.Cooldown,
			NeverPrompt: c.Prompt.never(),
			ConfirmPush: c.Prompt.ConfirmPush,
			State:       a.state,
			Identify:    a.keeper.Identify,
			Audit:       b.auditor(),
			Log:         a.options.Log,
		},
		Vault:       client,
		Tokens:      policyCheckedStore{b.next.tokens.Layered, tokenPolicies(c)},
		MaxTTL:      c.Cache.MaxTTL,
		Secrets:     a.secrets,
		Okta:        c.LoginMFA.mounts().Okta,
		Prefer:      c.LoginMFA.Prefer,
		SinglePhase: stepup.SinglePhase{Methods: c.LoginMFA.SinglePhaseMethods, Mounts: c.LoginMFA.SinglePhaseMounts},
		End:         func(caller stepup.Caller) { a.revoker.end(b.next.tokens, caller) },
		EndToken:    func(e cache.Entry) { a.revoker.add(deadCaller{store: b.next.tokens, dropped: []cache.Entry{e}}) },
		Meter:       resolveMeter{a.metrics},
	})
}

// maxKept carries over that 0 keeps nothing; the relay takes 0 for its default.
func maxKept(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
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

// rule finds a rule of this vault by its name; nil means none.
func (v *upstream) rule(name string) *rule.Rule {
	for i := range v.rules {
		if v.rules[i].Name == name {
			return &v.rules[i]
		}
	}
	return nil
}
