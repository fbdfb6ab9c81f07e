package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// The words of stepup exec.
const (
	textExec = "run a command and answer its prompts on this terminal"

	textExecLong = `Runs COMMAND, or your shell, with VAULT_ADDR and VAULT_AGENT_ADDR at the agent and
VAULT_CLIENT_TIMEOUT of at least 120 s, and asks on this terminal when Vault wants
a second factor. What is asked goes to the terminal itself (/dev/tty), never into
the command's output:

  stepup exec -- terraform apply
  stepup exec -- vault kv get -format=json kv/prod/db | jq .

When no agent is running, exec is one itself until the command ends, with the
same configuration but a port of its own.

With --rule it steps up before the command starts, with the token that the command
will use (VAULT_TOKEN, the token helper or ~/.vault-token), so that nothing
interrupts it later. That needs a rule with a token or login grant.

With --listen private the command gets a listener of its own. It serves the
processes that the command starts, as the system's table of processes has it, and
nobody else, not even other programs of yours. A program that hides its process
(the kernel does that for a file with capabilities, such as vault's cap_ipc_lock)
cannot be told by a TCP connection and is refused there. With --listen private-unix
the listener is a unix socket, where the kernel tells which process it is; the
command must take VAULT_ADDR=unix:///path, as vault and Vault's library for Go do.

The command reads the same keyboard: while a question is open, what you type may
go to either if the command reads as well. In a shell that exec has started you
are asked while a command of it runs; at the shell's own prompt you are told what
to type.

ctrl-c   says no to the question on the screen; a second one within a second ends
         the asking here, for the command it is then an ordinary ctrl-c
ctrl-d   leaves the question open for another place to answer

Exits with the code of COMMAND (128 and the number of the signal that ended it),
126 when it cannot be run, 127 when there is none, and 3 when --rule asked you and
you said no or did not answer: COMMAND is not started then.`

	textExecRule   = "step up under this rule before the command starts"
	textExecListen = "shared: the agent's listener; private: one for this command alone; private-unix: as private, on a unix socket"
	textExecVault  = "name of the vault block, where there are several"

	textCannotRun       = "cannot run %s: %w"
	textNoVault         = "no vault %s"
	textNoRule          = "no rule %s for vault %s"
	textRuleHeader      = "rule %s has a header grant or none: it is asked about with each request"
	textNotSteppedUp    = "not stepped up, the command was not started: %s"
	textHelperFailed    = "token helper %s: %w"
	textExecNotAttached = "stepup: nothing is asked on this terminal: %v"
	textExecLeft        = "stepup: nothing more is asked here; `stepup attach` asks here again"
	textExecDetached    = "stepup: the agent has stopped or let go of this terminal; `stepup attach` asks here again"
	textOnlyFor         = "only for pid %d and what it starts"
	textUnseen          = "\n%s\n  answer it with: stepup answer %s"

	hintRuleHeader = "leave --rule out, or give the rule a token or login grant"
	hintRules      = "rules are the step_up blocks of the configuration"
	hintNoToken    = "log in first (`vault login`), or set VAULT_TOKEN"
)

var (
	errBadListen  = errors.New("--listen must be shared, private or private-unix")
	errWhichVault = errors.New("the agent has several vaults")
	errNoListener = errors.New("the agent has no listener for programs")
	errNoToken    = errors.New("there is no token to step up with")
)

func vaultHint(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = printable(name)
	}
	return "name one with --vault: " + strings.Join(names, ", ")
}

// announce writes a line to the terminal itself: standard output and standard
// error are the command's.
func announce(format string, args ...any) {
	_ = terminal.Announce(fmt.Sprintf(format, args...) + "\n") // nobody there to read it
}

// unseen tells of a question that could not be put where it is asked.
func unseen(r prompt.Request) { announce(textUnseen, prompt.Brief(r), r.ID) }
