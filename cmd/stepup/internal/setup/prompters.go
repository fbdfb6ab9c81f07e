// Package setup makes what an agent needs besides its configuration: prompters and a log.
package setup

import (
	"log/slog"
	"slices"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/command"
	"github.com/vault-stepup/stepup/prompt/dialog"
	"github.com/vault-stepup/stepup/prompt/notification"
	desktop "github.com/vault-stepup/stepup/prompt/session"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// Dialogs returns the prompter for windows on the desktop of the requester.
func Dialogs(log *slog.Logger) *dialog.Prompter {
	return dialog.New(dialog.Config{Session: desktop.Finder{HiddenEnviron: peer.Environ}.Find, Log: log})
}

// Notifications returns the prompter for notifications there.
func Notifications() *notification.Prompter {
	return notification.New(notification.Config{Bus: desktop.Finder{HiddenEnviron: peer.Environ}.FindBus})
}

// Prompters makes the prompters that p.Use names. Attached terminals come by themselves.
func Prompters(p agent.Prompt, log *slog.Logger) []prompt.Named {
	var all []prompt.Named
	if slices.Contains(p.Use, agent.UseDesktop) {
		all = append(all,
			prompt.Named{Name: agent.UseDesktop, Prompter: Dialogs(log)},
			prompt.Named{Name: "notification", Prompter: Notifications()})
	}
	if slices.Contains(p.Use, agent.UseTerminal) {
		all = append(all, prompt.Named{Name: agent.UseTerminal, Prompter: terminal.New(terminal.Config{})})
	}
	if slices.Contains(p.Use, agent.UseCommand) {
		all = append(all, prompt.Named{
			Name:     agent.UseCommand,
			Prompter: command.New(command.Config{Args: p.Command, Log: log}),
		})
	}
	return all
}
