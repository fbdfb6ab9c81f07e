package vaultcli

import (
	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
)

// A Listener is one of the agent's, and the address of the Vault behind it.
type Listener struct{ Network, Address, Vault string }

// RunningListeners are those of an agent that runs.
func RunningListeners(s control.Status) (all []Listener) {
	addresses := make(map[string]string)
	for _, v := range s.Vaults {
		addresses[v.Name] = v.Address
	}
	for _, l := range s.Listeners {
		all = append(all, Listener{l.Network, l.Address, addresses[l.Vault]})
	}
	return all
}

// ConfiguredListeners are those that an agent with this configuration has.
func ConfiguredListeners(c *agent.Config) (all []Listener) {
	for _, l := range c.Listeners {
		if v, ok := c.Vault(l.Vault); ok {
			all = append(all, Listener{l.Network, l.Address, v.Address.String()})
		}
	}
	return all
}
