package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cache"
)

// The names under which stepup is a token helper. Vault and OpenBao run what
// token_helper names with one argument, get, store or erase (api/tokenhelper,
// ExternalTokenHelper), so a subcommand cannot be named there. Which CLI asks is
// in the name because each has its own idea of which variable comes first.
const (
	helperName    = "stepup-token-helper"
	helperNameBao = "stepup-token-helper-bao"
)

// commandLine is the arguments of a process, with the subcommand that its name
// stands for.
func commandLine(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	args := argv[1:]
	if len(args) > 0 && args[0] == ringCommand {
		return args // the helper is a copy, not a link, and calls itself
	}
	switch strings.TrimSuffix(filepath.Base(argv[0]), ".exe") {
	case helperName:
		return slices.Concat([]string{"token-helper"}, args)
	case helperNameBao:
		return slices.Concat([]string{"token-helper"}, args, []string{"--bao"})
	}
	return args
}

func (a *app) tokenHelperCommand() *cobra.Command {
	var bao bool
	sub := func(c cobra.Command, run func(context.Context, flavour) error) *cobra.Command {
		c.Args = takes(0)
		c.RunE = func(cmd *cobra.Command, _ []string) error {
			f := vaultCLI()
			if bao {
				f = baoCLI()
			}
			return run(cmd.Context(), f)
		}
		return &c
	}
	cmd := group(&cobra.Command{Use: "token-helper", Short: textHelper, Long: textHelperLong},
		sub(cobra.Command{Use: "get", Short: textHelperGet}, a.helperGet),
		sub(cobra.Command{Use: "store", Short: textHelperStore}, a.helperStore),
		sub(cobra.Command{Use: "erase", Short: textHelperErase}, a.helperErase),
		sub(cobra.Command{Use: "enable", Short: textHelperEnable, Long: textHelperEnableLong}, a.helperEnable),
		sub(cobra.Command{Use: "disable", Short: textHelperDisable, Long: textHelperDisableLong}, a.helperDisable))
	cmd.PersistentFlags().BoolVar(&bao, "bao", false, textHelperBao)
	return cmd
}

// A flavour is the CLI whose helper we are.
type flavour struct {
	link      string   // the name under which it runs us
	file      string   // its configuration in the home folder
	fileEnv   []string // variables that name another file; the first that is set wins
	addresses []string // variables that name the server; the first that is set wins
}

// vaultCLI: api/client.go (NewClient takes AgentAddress over Address), api/cliconfig.
func vaultCLI() flavour {
	return flavour{
		link: helperName, file: ".vault", fileEnv: []string{"VAULT_CONFIG_PATH"},
		addresses: []string{"VAULT_AGENT_ADDR", "VAULT_ADDR"},
	}
}

// baoCLI: OpenBao reads each variable as BAO_ and then as VAULT_ (api/env.go).
func baoCLI() flavour {
	return flavour{
		link: helperNameBao, file: ".bao", fileEnv: []string{"BAO_CONFIG_PATH", "VAULT_CONFIG_PATH"},
		addresses: []string{"BAO_AGENT_ADDR", "VAULT_AGENT_ADDR", "BAO_ADDR", "VAULT_ADDR"},
	}
}

// first is the value of the first of the variables that is set.
func (a *app) first(names []string) (name, value string) {
	for _, name := range names {
		if value := a.env(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

func logins() *cache.Logins { return cache.NewLogins(keyRing(), keyringScope) }

// helperGet prints the token and nothing else, not even a line break: the CLI
// takes all of it. That there is none is no error.
func (a *app) helperGet(ctx context.Context, f flavour) error {
	server, err := a.helperServer(ctx, f)
	if err != nil {
		return err
	}
	token, err := logins().Get(ctx, server)
	if errors.Is(err, cache.ErrNotFound) {
		return nil
	}
	if err != nil {
		return ringFailure(err, hintHelperOff)
	}
	_, err = io.WriteString(a.out, token.Reveal())
	return err
}

// maxLogin is more than the keyring takes.
const maxLogin = 64 << 10

func (a *app) helperStore(ctx context.Context, f flavour) error {
	text, err := io.ReadAll(io.LimitReader(a.in, maxLogin))
	if err != nil {
		return fmt.Errorf(textStdin, err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case token == "":
		return errHelperEmpty
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errHelperToken // the Go client refuses to send it, with every later command
	}
	server, err := a.helperServer(ctx, f)
	if err != nil {
		return err
	}
	err = logins().Put(ctx, server, cache.Secret(token))
	if errors.Is(err, cache.ErrTooLarge) {
		return errHelperLong
	}
	return ringFailure(err, hintHelperOff)
}

func (a *app) helperErase(ctx context.Context, f flavour) error {
	server, err := a.helperServer(ctx, f)
	if err != nil {
		return err
	}
	return ringFailure(logins().Delete(ctx, server), hintHelperOff)
}
