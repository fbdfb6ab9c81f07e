package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/config"
)

// probeLimit is how long a server may take: the person waits for a file.
const probeLimit = 5 * time.Second

// A variable of Vault's clients that a vault block has a word for.
type variable struct {
	word, name string
	path       bool
}

// variables are those, and what goes together.
func variables() [][]variable {
	return [][]variable{
		{{"namespace", "VAULT_NAMESPACE", false}},
		{{"ca_cert", "VAULT_CACERT", true}},
		{{"ca_path", "VAULT_CAPATH", true}},
		{{"client_cert", "VAULT_CLIENT_CERT", true}, {"client_key", "VAULT_CLIENT_KEY", true}},
		{{"tls_server_name", "VAULT_TLS_SERVER_NAME", false}},
	}
}

// environment takes what the clients of this shell use. What no agent would start with is
// left out, and said.
func (a *configuration) environment(address string) (taken []config.Argument) {
	for _, group := range variables() {
		var more []config.Argument
		var names []string
		for _, v := range group {
			name, value := a.FirstEnv([]string{v.name, strings.Replace(v.name, "VAULT", "BAO", 1)})
			if value == "" {
				continue
			}
			if absolute, err := filepath.Abs(value); v.path && err == nil {
				value = absolute // a client reads it from here, the agent does not
			}
			more, names = append(more, config.Argument{Name: v.word, Value: value}), append(names, name)
		}
		if len(more) == 0 {
			continue
		}
		both := slices.Concat(taken, more)
		if problem := a.starterProblem(address, both); problem != "" {
			a.Notify("warning: %s is left out: %s", strings.Join(names, " and "), cli.Printable(problem))
			continue
		}
		taken = both
	}
	if name, _ := a.FirstEnv([]string{"VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY"}); name != "" {
		a.Notify("warning: %s is left out: anybody on the way could be Vault and read your tokens", name)
	}
	return taken
}

// A probe is what a server says of itself without a token.
type probe struct {
	health vault.Health
	mounts []vault.AuthMount
	hidden error // why the mounts are not known, nil where they are
}

// probe asks the server of a starter file, within probeLimit. No token is sent.
func (a *configuration) probe(ctx context.Context, text []byte) (p probe, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	c, _ := config.Parse("", text, config.Options{Env: a.Env})
	if c == nil {
		return p, fmt.Errorf("the file has an error: `stepup config check` shows it")
	}
	v := c.Vaults[0]
	_, way := v.TLS.For(v.Address)
	way.ResponseHeaderTimeout = probeLimit
	transport, err := vault.NewTransport(way)
	if err != nil {
		return p, err
	}
	defer transport.CloseIdleConnections()
	client, err := vault.New(vault.Config{Name: v.Name, Address: v.Address, Transport: vault.RedactingTransport{Base: transport}})
	if err != nil {
		return p, err
	}
	if p.health, err = client.Health(ctx); err != nil {
		return p, err
	}
	p.mounts, p.hidden = client.AuthMounts(ctx, v.Namespace)
	return p, nil
}

// state is how the server is, for people.
func (p probe) state() string {
	switch h := p.health; {
	case !h.Initialized:
		return "it is not initialised"
	case h.Sealed:
		return "it is sealed"
	default:
		return "it is up, version " + cli.Printable(h.Version)
	}
}

// lines say what is known about the server.
func (p probe) lines() []string {
	lines := []string{p.state()}
	switch {
	case !p.health.Initialized || p.health.Sealed:
	case p.hidden != nil:
		lines = append(lines, "its auth methods cannot be listed: "+cli.Printable(p.hidden.Error()))
	case len(p.mounts) == 0:
		lines = append(lines, "it shows no auth methods without a token; a login held for a second factor is completed on all of them")
	default:
		lines = append(lines, "a login held for a second factor is completed, on these auth methods and those that it does not show:")
		for _, m := range p.mounts {
			lines = append(lines, "  "+m.String())
		}
	}
	return lines
}

// proposals are the arguments of login_mfa that may be wanted with these mounts.
func (p probe) proposals() (all []config.Proposal) {
	if okta := p.paths("okta"); len(okta) > 0 {
		all = append(all, config.Proposal{Name: "okta_mounts", Values: okta, About: "shows the number to tap"})
	}
	if before := p.paths("ldap", "okta", "radius", "userpass"); len(before) > 0 && legacy(p.health.Version) {
		all = append(all, config.Proposal{Name: "legacy_mounts", Values: before, About: "if they use the MFA of before Vault 1.11"})
	}
	return all
}

// paths are the mounts of some types.
func (p probe) paths(types ...string) (all []string) {
	for _, m := range p.mounts {
		if slices.Contains(types, m.Type) {
			all = append(all, m.Path)
		}
	}
	return all
}

// legacy reports whether a version still has the MFA that goes into the body of a login.
func legacy(version string) bool {
	minor := 0
	n, _ := fmt.Sscanf(version, "1.%d", &minor) // OpenBao counts from 2
	return n == 1 && minor <= 10
}
