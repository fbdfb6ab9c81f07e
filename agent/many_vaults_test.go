package agent_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/devvault"
	"github.com/vault-stepup/stepup/prompt"
)

// One rule for two servers, each with two namespaces: a step-up of one place never serves
// another, each is asked about by its own words, and one lock ends them all.
func TestManyVaultsAndNamespaces(t *testing.T) {
	t.Parallel()
	const path = "kv/data/deploy/web"
	r := newTokenFixture(t)
	other := devvault.New(devvault.Config{Flavor: devvault.Enterprise})
	address, err := other.Start()
	must(t, err)
	t.Cleanup(other.Close)
	other.AddTOTPMethod("corp")
	second, err := url.Parse(address)
	must(t, err)
	r.change(t, func(c *agent.Config) {
		c.Vaults = append(c.Vaults, agent.Vault{Name: "other", Address: second, MaxBody: 1 << 20})
		c.Listeners = append(c.Listeners, agent.Listener{Network: "unix", Address: r.socket + "2", Vault: "other"}, agent.Listener{Network: "tcp", Address: "127.83.7.21:0", Vault: "other"})
	})
	servers := map[string]*devvault.Server{"corp": r.vault, "other": other}
	r.person = func(_ context.Context, q prompt.Request) (string, error) {
		return servers[q.Vault].UnusedCode("corp", "erin"), nil
	}
	type place struct{ vault, namespace string }
	var places []place
	as := map[place]*fixture{}
	for _, l := range r.agent.Status(t.Context()).Listeners {
		if l.Network != "tcp" {
			continue
		}
		v := servers[l.Vault]
		erin := v.AddUser("userpass", "erin", "pw")
		enrol(t, v, "corp", erin)
		for _, namespace := range []string{"a", "b"} {
			ns := v.AddNamespace(namespace)
			ns.AddKV("kv")
			ns.AddPolicy("deploy", devvault.PathRule{Path: "kv/data/deploy/*", Capabilities: []string{"read"}})
			ns.AddPolicy("minter", devvault.PathRule{Path: "auth/token/create/stepup", Capabilities: []string{"update"}, MFAMethods: []string{"corp"}})
			ns.AddTokenRole("stepup", devvault.TokenRole{AllowedPolicies: []string{"deploy"}})
			must(t, ns.PutSecret(path, map[string]any{"in": l.Vault + " " + namespace}))
			at := place{l.Vault, namespace}
			places = append(places, at)
			as[at] = r.at("http://" + l.Address).as(ns.CreateToken([]string{"default", "minter"}, erin))
		}
	}
	for n, at := range places {
		header := []string{"X-Vault-Namespace", at.namespace}
		check(t, as[at].read(t, path, header...), reply{200, fmt.Sprintf("%q", at.vault+" "+at.namespace), "approved"})
		check(t, as[at].read(t, path, header...), reply{200, fmt.Sprintf("%q", at.vault+" "+at.namespace), "cached"})
		q := r.asked.Requests()
		if len(q) != n+1 || q[n].Vault != at.vault || q[n].Namespace != at.namespace {
			t.Fatalf("asked %d times, at last about %q in %q", len(q), q[len(q)-1].Vault, q[len(q)-1].Namespace)
		}
	}
	// Attack: the token of one server at another finds no step-up, and causes no question. That
	// of a namespace finds none in another one.
	r.person = deny
	for _, at := range places {
		for _, elsewhere := range places {
			got := as[elsewhere].as(as[at].token).read(t, path, "X-Vault-Namespace", elsewhere.namespace)
			if at != elsewhere && got.status != 403 || at.vault != elsewhere.vault && got.outcome != "" {
				t.Errorf("the token of %v at %v: %+v", at, elsewhere, got)
			}
		}
	}
	tokens := r.agent.Status(t.Context()).Tokens
	for _, at := range places {
		if !slices.ContainsFunc(tokens, func(token control.Token) bool { return place{token.Vault, token.Namespace} == at }) {
			t.Errorf("no token for %v in %+v", at, tokens)
		}
	}
	locked, err := r.control().LockRule(t.Context(), "deploy")
	must(t, err)
	if locked.Revoked != len(places) {
		t.Errorf("locked %+v", locked)
	}
}
