package doctor

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// maxMounts bounds how often one Vault is asked.
const maxMounts = 16

// A kvPath is a path of a rule that is perhaps written as for a KV store of version 1.
type kvPath struct {
	rule    *rule.Rule
	pattern rule.Pattern
}

// kvPaths are those of the rules for one vault.
func kvPaths(c *agent.Config, vault string) (all []kvPath) {
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.Vault != "" && r.Vault != vault {
			continue
		}
		for _, p := range r.Paths {
			if p.MayLackData() {
				all = append(all, kvPath{r, p})
			}
		}
	}
	return all
}

// A rulesCheck looks for paths of rules that no request has, because their store is one of
// KV version 2.
type rulesCheck struct {
	d     *doctor
	vault agent.Vault
	paths []kvPath
}

// run asks Vault's mount table. Where that tells nothing, a name such as kv is a reason to
// say how the path would be written, and no more: a store of version 1 is nothing to warn of.
func (c rulesCheck) run(ctx context.Context, f findings) {
	token, unasked := c.d.tokenFor(ctx, c.vault)
	if unasked == nil {
		c.methods(ctx, f, token)
	}
	var t *mountTable
	if unasked == nil && len(c.paths) > 0 {
		t, unasked = newMountTable(ctx, c.vault, token)
	}
	for _, one := range c.paths {
		namespace := one.rule.In(c.vault.Namespace)
		m, err := vault.Mount{}, unasked
		if err == nil {
			m, err = t.at(ctx, namespace, one.pattern.Literal())
		}
		if err == nil {
			if written, lacks := rule.InKV2(m.KV2(), one.pattern.String(), one.rule.Capabilities...); lacks {
				f.warn("rule %q: no request has the path %s: %s is a KV store of version 2", one.rule.Name, one.pattern, m.Path).
					with("write %s", written)
			}
			continue
		}
		mount, _, _ := strings.Cut(one.pattern.String(), "/")
		if written, lacks := rule.InKV2(mount, one.pattern.String(), one.rule.Capabilities...); lacks && rule.NamedKV(mount) {
			f.pass("rule %q: %s is right for a KV store of version 1; for one of version 2, write %s", one.rule.Name, one.pattern, written).
				with("which one %s/ is, is not known: %s", mount, reason(err))
		}
	}
}

// An UnknownMethods returns the names of methods in a configuration that the server of a
// vault block does not have, each with what lacks it.
type UnknownMethods func(ctx context.Context, c *agent.Config, v agent.Vault, token secret.Secret) (map[string]string, error)

// methods looks for names that no policy and no method of the server has: Vault says of
// them what it says of a wrong code. A server that does not tell is nothing to say.
func (c rulesCheck) methods(ctx context.Context, f findings, token secret.Secret) {
	unknown, err := c.d.unknown(ctx, c.d.config, c.vault, token)
	if err != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		f.warn("method %q: %s", name, unknown[name]).with("`stepup config suggest` writes the names that the policies have; `vault list sys/mfa/method` and identity/mfa/method have all")
	}
}

// reason says why the mount table was not read.
func reason(err error) string {
	if status := (*vault.StatusError)(nil); errors.As(err, &status) && status.Status == 403 {
		return "Vault does not tell your own token"
	}
	return err.Error()
}

// A mountTable asks one Vault for its mounts, each once.
type mountTable struct {
	ask   func(ctx context.Context, namespace, path string) (vault.Mount, error)
	known map[[2]string]mountAnswer // by namespace and path
}

type mountAnswer struct {
	mount vault.Mount
	err   error
}

var (
	errElsewhere = errors.New("the clients of this shell go to another Vault, so their token is not sent there")
	errEnough    = errors.New("there are too many rules to ask about")
)

// tokenFor is the token of this shell, if it is one of v.
func (d *doctor) tokenFor(ctx context.Context, v agent.Vault) (secret.Secret, error) {
	if !d.goesTo(v) {
		return "", errElsewhere
	}
	return vaultcli.Token(ctx, d.Console, os.Environ())
}

func newMountTable(ctx context.Context, v agent.Vault, token secret.Secret) (*mountTable, error) {
	way := v.TLS
	way.ResponseHeaderTimeout = networkLimit
	client, transport, err := vault.Connect(v.Name, v.Address, way)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, transport.CloseIdleConnections) // each check has a context of its own, which ends with it
	ask := func(ctx context.Context, namespace, path string) (vault.Mount, error) {
		return client.Mount(ctx, token, namespace, path)
	}
	return &mountTable{ask: ask, known: make(map[[2]string]mountAnswer)}, nil
}

// goesTo reports whether clients of this shell reach v, through the agent or past it. Else
// their token is one of another Vault, and v must not see it.
func (d *doctor) goesTo(v agent.Vault) bool {
	_, value := d.FirstEnv(vaultcli.Told(d.Console).Addresses)
	to, err := vaultcli.ParseServer(cmp.Or(value, vaultcli.DefaultServer))
	if err != nil {
		return false
	}
	if address, err := vaultcli.ParseServer(v.Address.String()); err == nil && address == to {
		return true
	}
	listeners := vaultcli.RunningListeners(d.agent)
	if len(listeners) == 0 {
		listeners = vaultcli.ConfiguredListeners(d.config)
	}
	return slices.ContainsFunc(listeners, func(l vaultcli.Listener) bool { return l.Vault == v.Address.String() && l.Serves(to) })
}

func (t *mountTable) at(ctx context.Context, namespace, path string) (vault.Mount, error) {
	key := [2]string{namespace, path}
	if a, ok := t.known[key]; ok {
		return a.mount, a.err
	}
	if len(t.known) == maxMounts {
		return vault.Mount{}, errEnough
	}
	m, err := t.ask(ctx, namespace, path)
	t.known[key] = mountAnswer{m, err}
	return m, err
}
