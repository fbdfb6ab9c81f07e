package policies

import (
	"context"
	"errors"
	"slices"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cache/secret"
)

// errUntold: the token may read too little.
var errUntold = errors.New("neither the methods nor the policies may be read")

// UnknownMethods returns the names of methods in c that the server of v does not have, each
// with what lacks it. A name that could be on another server, or where the token may not
// look, is none of them. It reads from one list to all policies, as far as it needs to.
func UnknownMethods(ctx context.Context, c *agent.Config, v agent.Vault, token secret.Secret) (map[string]string, error) {
	client, transport, err := vault.Connect(v.Name, v.Address, v.TLS)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	r := &reader{client: client, token: token}
	return r.unknown(ctx, rule.Namespace(v.Namespace), namesFor(c, v.Name))
}

// A methodNames are the names of methods in a configuration, for one server.
type methodNames struct {
	policy []string // that a policy must name
	login  []string // that an enforcement of logins may name
}

func namesFor(c *agent.Config, server string) (n methodNames) {
	alone := len(c.Vaults) == 1
	for _, r := range c.Rules {
		switch {
		case r.Vault != server && !(alone && r.Vault == ""):
		case r.Grant.Kind == rule.LoginGrant:
			n.login = rule.Join(append(r.Groups(), n.login)...)
		default:
			n.policy = rule.Join(append(r.Groups(), n.policy)...)
		}
	}
	for _, m := range c.Methods {
		if alone && !slices.Contains(n.policy, m.Name) {
			n.login = rule.Join(n.login, []string{m.Name})
		}
	}
	return n
}

// unknown asks for what is cheap first: most configurations have the right names.
func (r *reader) unknown(ctx context.Context, namespace string, n methodNames) (map[string]string, error) {
	listed := r.dropListed(ctx, []string{namespace, ""}, &n)
	if len(n.policy)+len(n.login) == 0 {
		return nil, nil
	}
	err := r.read(ctx, namespace)
	listed = r.dropListed(ctx, r.namespaces, &n) && listed
	r.dropInPolicies(&n)
	everywhere := len(r.notes) == 0
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	unknown := make(map[string]string)
	for _, name := range n.policy {
		switch {
		case listed: // those of step-up MFA are all in root
			unknown[name] = "the server has no method of that name"
		case err == nil && everywhere:
			unknown[name] = "no policy of the server names it"
		case err == nil:
			unknown[name] = "no policy that your token may read names it"
		}
	}
	for _, name := range n.login {
		if listed && everywhere {
			unknown[name] = "the server has no method of that name"
		}
	}
	if err != nil && !listed {
		return nil, errUntold
	}
	return unknown, nil
}

// drop takes the names out that the server knows.
func (n *methodNames) drop(known ...string) {
	is := func(name string) bool { return slices.Contains(known, name) }
	n.policy, n.login = slices.DeleteFunc(n.policy, is), slices.DeleteFunc(n.login, is)
}

// dropListed drops the methods, by name or ID, that the lists in the namespaces have. It
// reports whether all lists could be read: one that the server does not have is empty.
func (r *reader) dropListed(ctx context.Context, namespaces []string, n *methodNames) bool {
	all := true
	for _, in := range rule.Join(namespaces) {
		for _, folder := range []string{"sys/mfa/method", "identity/mfa/method"} {
			found, err := r.client.List(ctx, r.token, in, folder)
			all = all && (err == nil || r.unsupported(err))
			n.drop(found.Keys...)
			for _, info := range found.Info {
				for _, key := range []string{"name", "id"} {
					if text, ok := info[key].(string); ok {
						n.drop(text)
					}
				}
			}
		}
	}
	return all
}

// dropInPolicies drops the methods that policies name.
func (r *reader) dropInPolicies(n *methodNames) {
	for _, p := range r.acl {
		stanzas, err := parsePolicy(p.namespace, p.name, p.text)
		if err != nil {
			r.note("policy %s cannot be read", p.name)
		}
		for _, s := range stanzas {
			n.drop(s.methods...)
		}
	}
	for _, p := range r.sentinel {
		n.drop(p.methods...)
	}
}
