package secrets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// askAgent bounds what a token helper waits for the agent's status. The agent
// asks its Vaults first, for two seconds at most.
const askAgent = 4 * time.Second

// server is the address under which the token of the CLI's server is kept:
// that of the Vault behind a listener of ours, else the server's own. Spelling
// does not matter.
func (h *tokenHelper) server(ctx context.Context, f vaultcli.CLI) (string, error) {
	variable, value := h.FirstEnv(f.Addresses)
	if variable == "" {
		value = vaultcli.DefaultServer
	}
	address, err := vaultcli.ParseServer(value)
	if err != nil {
		// The value is not shown: an address may carry a password.
		return "", fmt.Errorf("%s is not the address of a Vault server", variable)
	}
	if !address.Local() {
		return address.String(), nil
	}
	listeners, err := h.listeners(ctx)
	if err != nil {
		return "", err
	}
	for _, l := range listeners {
		if behind, err := vaultcli.ParseServer(l.Vault); err == nil && l.Serves(address) {
			return behind.String(), nil
		}
	}
	return address.String(), nil
}

// listeners are those of the running agent, else those of the configuration. That
// there is neither is no error: the CLI may not be meant to reach us at all.
func (h *tokenHelper) listeners(ctx context.Context) ([]vaultcli.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, askAgent)
	defer cancel()
	if s, err := h.Client().Status(ctx); err == nil {
		return vaultcli.RunningListeners(s), nil
	}
	file := h.ConfigFile()
	if _, err := os.Stat(file); file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c, err := h.Load()
	if err != nil {
		return nil, err
	}
	return vaultcli.ConfiguredListeners(c), nil
}
