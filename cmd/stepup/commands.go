package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/attach"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/demo"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/doctor"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/exec"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/secrets"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/service"
)

// The groups of the help.
const (
	groupAgent   = "agent"
	groupPrompts = "prompts"
	groupSecrets = "secrets"
)

// commands are all subcommands.
func (a *app) commands() []*cobra.Command {
	return slices.Concat(
		inGroup(groupAgent,
			a.configCommand(),
			a.agentCommand(),
			a.statusCommand(),
			exec.Command(a.Console),
			service.Command(a.Console),
			doctor.Command(a.Console),
		),
		inGroup(groupPrompts, append(attach.Commands(a.Console), a.lockCommand())...),
		inGroup(groupSecrets,
			secrets.TokenHelper(a.Console),
			secrets.TOTP(a.Console),
		),
		[]*cobra.Command{
			demo.Command(a.Console),
			a.versionCommand(),
			a.completionCommand(),
			a.keyringCommand(),
		},
	)
}

func inGroup(id string, all ...*cobra.Command) []*cobra.Command {
	for _, cmd := range all {
		cmd.GroupID = id
	}
	return all
}
