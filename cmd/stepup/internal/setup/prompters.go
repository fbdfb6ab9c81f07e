// Package setup makes what an agent needs besides its configuration: prompters and a log.
package setup

import (
	"context"
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

func finder() desktop.Finder { return desktop.Finder{HiddenEnviron: peer.Environ} }

// Dialogs returns the prompter for windows on the desktop of the requester. pinentry is the
// person's own; "" for none.
func Dialogs(pinentry string, log *slog.Logger) *dialog.Prompter {
	return dialog.New(dialog.Config{Session: finder().Find, Pinentry: pinentry, Log: log})
}

// Notifications returns the prompter for notifications there.
func Notifications() *notification.Prompter {
	return notification.New(notification.Config{Bus: finder().FindBus})
}

// ForegroundPrompters are [Prompters] and, if p.Use names the terminal, screen.
func ForegroundPrompters(p agent.Prompt, a Askpass, log *slog.Logger, screen *terminal.Prompter) []prompt.Named {
	all := Prompters(p, a, log)
	if slices.Contains(p.Use, agent.UseTerminal) {
		all = append(all, prompt.Named{Name: agent.UseTerminal, Prompter: screen})
	}
	return all
}

// Prompters makes the prompters that p.Use names, less the terminal of the agent itself. Attached
// terminals come by themselves. The program of the environment asks in any case: in the place of
// the dialogs of the desktop, which remain for what it cannot ask, so that one question has one
// window.
func Prompters(p agent.Prompt, a Askpass, log *slog.Logger) []prompt.Named {
	var all []prompt.Named
	var program prompt.Prompter
	if a.Program != "" {
		program = command.NewAskpass(command.AskpassConfig{Program: a.Program, Session: finder().Find, Log: log})
	}
	dialogs := Dialogs(p.Pinentry, log)
	switch onDesktop := slices.Contains(p.Use, agent.UseDesktop); {
	case onDesktop && program != nil:
		all = append(all, prompt.Named{Name: AskpassName, Prompter: firstOf{program, dialogs}})
	case onDesktop:
		all = append(all, prompt.Named{Name: agent.UseDesktop, Prompter: dialogs, Check: func(ctx context.Context) error {
			_, err := dialogs.Available(ctx)
			return err
		}})
	case program != nil:
		all = append(all, prompt.Named{Name: AskpassName, Prompter: program})
	}
	if slices.Contains(p.Use, agent.UseDesktop) {
		popups := Notifications()
		all = append(all, prompt.Named{Name: "notification", Prompter: popups, Check: popups.Available})
	}
	if slices.Contains(p.Use, agent.UseCommand) {
		all = append(all, prompt.Named{
			Name:     agent.UseCommand,
			Prompter: command.New(command.Config{Args: p.Command, Log: log}),
		})
	}
	return all
}
