// Package setup makes of a configuration what an agent takes: its settings, prompters
// and log.
package setup

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/stepup"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/command"
	"github.com/vault-stepup/stepup/prompt/dialog"
	"github.com/vault-stepup/stepup/prompt/notification"
	desktop "github.com/vault-stepup/stepup/prompt/session"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// Agent carries a configuration over into what the agent takes. file is its path.
func Agent(c *config.Config, file string, log *slog.Logger) agent.Config {
	s := agent.Config{
		File:        file,
		Methods:     make(map[string]mfa.Method),
		Rules:       c.Rules,
		LoginMFA:    c.LoginMFA.Enabled,
		Prefer:      c.LoginMFA.Prefer,
		SinglePhase: stepup.SinglePhase{Methods: c.LoginMFA.SinglePhaseMethods, Mounts: c.LoginMFA.SinglePhaseMounts},
		AuditFile:   c.Audit.File,
		FromSeed:    make(map[string]bool),
		Commands:    make(map[string][]string),
		Cache: agent.Cache{
			Keyring: c.Cache.Store == config.StoreKeyring,
			MaxTTL:  c.Cache.MaxTTL,
			LockOn:  c.Cache.LockOn,
		},
		Telemetry: agent.Telemetry(c.Telemetry),
		MaxBodies: maxKept(c.Relay.MaxKeptBodies),
		Prompt: agent.Prompt{
			Prompters:   Prompters(c.Prompt, log),
			Attachable:  slices.Contains(c.Prompt.Use, config.UseAttached),
			Timeout:     c.Prompt.Timeout,
			Attempts:    c.Prompt.Attempts,
			Cooldown:    c.Prompt.Cooldown,
			MaxPending:  c.Prompt.MaxPending,
			ConfirmPush: c.Prompt.ConfirmPush,
			NeverPrompt: factor.NeverPrompt{Detached: c.Prompt.Detached == config.Never, Match: never(c.Prompt.Never)},
		},
	}
	if c.LoginMFA.Enabled {
		s.Mounts = relay.Mounts{Okta: c.LoginMFA.OktaMounts, Legacy: c.LoginMFA.LegacyMounts}
	}
	for _, v := range c.Vaults {
		s.Vaults = append(s.Vaults, agent.Vault{
			Name: v.Name, Address: v.Address, Namespace: v.Namespace, MaxKept: maxKept(v.MaxBody), Timeout: v.Timeout,
			TLS: TLS(v),
		})
	}
	for _, l := range c.Listeners {
		s.Listeners = append(s.Listeners, agent.Listener(l))
	}
	for _, m := range c.Methods {
		// Of the types that Vault knows, only totp always takes a code; the others
		// push (vault/login_mfa.go), Duo where it gets no passcode.
		s.Commands[m.Name] = m.PasscodeCommand
		s.FromSeed[m.Name] = m.PasscodeSource == "keyring"
		s.Methods[m.Name] = mfa.Method{
			Type: m.Type, Name: m.Name, Digits: m.Digits, UsesPasscode: m.Type == "totp" || m.Passcode, OrPush: m.Passcode,
		}
	}
	return s
}

// TLS carries the certificates of a vault block over.
func TLS(v config.Vault) vault.TLS {
	return vault.TLS{
		CACert: v.CACert, CAPath: v.CAPath, ClientCert: v.ClientCert, ClientKey: v.ClientKey,
		ServerName: v.TLSServerName, SkipVerify: v.TLSSkipVerify,
	}
}

// Dialogs returns the prompter for windows on the desktop of the requester.
func Dialogs(log *slog.Logger) *dialog.Prompter {
	return dialog.New(dialog.Config{Session: desktop.Finder{HiddenEnviron: peer.Environ}.Find, Log: log})
}

// Notifications returns the prompter for notifications there.
func Notifications() *notification.Prompter {
	return notification.New(notification.Config{Bus: desktop.Finder{HiddenEnviron: peer.Environ}.FindBus})
}

// Prompters makes the prompters that prompt.use names. Attached terminals come by themselves.
func Prompters(p config.Prompt, log *slog.Logger) []prompt.Named {
	var all []prompt.Named
	if slices.Contains(p.Use, config.UseDesktop) {
		all = append(all,
			prompt.Named{Name: config.UseDesktop, Prompter: Dialogs(log)},
			prompt.Named{Name: "notification", Prompter: Notifications()})
	}
	if slices.Contains(p.Use, config.UseTerminal) {
		all = append(all, prompt.Named{Name: config.UseTerminal, Prompter: terminal.New(terminal.Config{})})
	}
	if slices.Contains(p.Use, config.UseCommand) {
		all = append(all, prompt.Named{
			Name:     config.UseCommand,
			Prompter: command.New(command.Config{Args: p.Command, Log: log}),
		})
	}
	return all
}

// maxKept carries over that 0 keeps nothing; the agent takes 0 for its default.
func maxKept(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// never finds the requesters that must cause no prompt: any program in their
// chain may be the one that is named.
func never(names []string) func(peer.Peer) bool {
	if len(names) == 0 {
		return nil
	}
	return func(p peer.Peer) bool {
		return slices.ContainsFunc(p.Chain, func(program string) bool {
			return slices.ContainsFunc(names, func(name string) bool {
				start, any := strings.CutSuffix(name, "*")
				return program == name || any && strings.HasPrefix(program, start)
			})
		})
	}
}
