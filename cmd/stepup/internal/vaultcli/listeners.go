package vaultcli

import (
	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
)

// A Listener is one of the agent's, and the Vault behind it.
type Listener struct {
	Network, Address string
	Vault            string // its address
	Namespace        string // there, of requests that name none
}

// RunningListeners are those of an agent that runs.
func RunningListeners(s control.Status) (all []Listener) {
	vaults := make(map[string]control.Vault)
	for _, v := range s.Vaults {
		vaults[v.Name] = v
	}
	for _, l := range s.Listeners {
		v := vaults[l.Vault]
		all = append(all, Listener{Network: l.Network, Address: l.Address, Vault: v.Address, Namespace: v.Namespace})
	}
	return all
}

// ConfiguredListeners are those that an agent with this configuration has.
func ConfiguredListeners(c *agent.Config) (all []Listener) {
	for _, l := range c.Listeners {
		if v, ok := c.Vault(l.Vault); ok {
			all = append(all, Listener{Network: l.Network, Address: l.Address, Vault: v.Address.String(), Namespace: v.Namespace})
		}
	}
	return all
}
