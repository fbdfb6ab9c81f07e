package main

import (
	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// keyringCommand is for Keyring and nobody else. It reads no configuration.
func (a *app) keyringCommand() *cobra.Command {
	return &cobra.Command{
		Use: cli.KeyringCommand, Hidden: true, Args: cli.Takes(0),
		RunE: func(*cobra.Command, []string) error { return cache.ServeRing(a.In, a.Out) },
	}
}
