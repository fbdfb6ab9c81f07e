package main

// Every word that people read from the commands is in this file, the layout of
// what has columns in ui_tables.go, the keyring in ui_secrets.go, the service in
// ui_service.go, the examination in ui_doctor.go, the tour in demo_words.go. The rules: lower
// case, no full stop; results go to standard output, everything else to standard
// error; what is wrong starts with "error: ", the way out is a line that starts
// with "hint: " and names the command to run. What the agent tells goes through
// printable.

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

const (
	textUnprotected = "stepup: warning: your other programs can read the memory of this process: %v\n"

	textShort      = "the second factor of Vault, for programs and people"
	textConfigFlag = "configuration file (default: $STEPUP_CONFIG, else the user's configuration folder)"
	textLong       = `stepup stands between programs and HashiCorp Vault or OpenBao. Programs set
VAULT_ADDR to it; when Vault wants a second factor, it asks you, completes the
exchange and gives the program the answer it wanted.

Start with:
  stepup demo                  a tour, with a Vault of its own
  stepup config init           write a first configuration
  stepup agent                 run it`

	textGroupAgent   = "The agent:"
	textGroupPrompts = "Its prompts:"
	textGroupSecrets = "The keyring:"

	textAgent      = "run the agent in the foreground"
	textAttach     = "answer the agent's prompts on this terminal"
	textStatus     = "show what the agent does"
	textPrompts    = "list the prompts that are open"
	textAnswer     = "answer a prompt"
	textDeny       = "say no to a prompt"
	textLock       = "revoke and forget every step-up token, cancel every prompt"
	textConfig     = "check a configuration, or write a first one"
	textVersion    = "print the version"
	textCompletion = "print a shell's completion script"
	textHelp       = "help about a command"

	textConfigCheck = "say what is wrong with a configuration"
	textConfigInit  = "write a commented first configuration"

	textFormatFlag  = "how the result is written"
	textAddressFlag = "address of the Vault server, such as https://vault.example.com:8200"
)

// What --help says beyond the first line.
const (
	textStatusLong = `Shows where programs connect (the export lines can be pasted into a shell), the
Vault servers and whether they answer, the rules, open prompts, who is asked,
and where step-up tokens are kept. A server that does not answer costs two
seconds. With --format json it is the object that GET /v1/status gives.`

	textAttachLong = `Shows the agent's prompts on this terminal, one after the other, and sends what
you type. It is one more way to be asked, beside those of the configuration:
the first answer counts, and a prompt that is answered elsewhere goes away.

ctrl-c   says no to the prompt on the screen; a second one within a second,
         or one while nothing is asked, leaves
ctrl-d   leaves the prompt open for another place to answer

Exits with 0 when you leave and with 4 when the agent stops; it does not wait
for the agent to come back.`

	textAnswerLong = `Answers the prompt with the ID that "stepup prompts" lists. Without CODE, the
answer is asked for on the terminal, or is the first line of standard input
where that is no terminal:

  ykman oath accounts code -s Vault | stepup answer ab3d5f

A CODE on the command line can be read by every user of this machine while the
command runs (ps), and stays in the shell's history. For a one-time code that
is a small risk. A password is refused there: type it or pipe it.

The answer to a choice is its name or its number. Exits with 1 when there is no
such prompt or the answer does not fit, and with 3 when it asked you and you
said no or did not answer.`

	textLockLong = `Forgets every step-up token and revokes it at Vault, and cancels every open
prompt, as if it had been denied. The agent goes on running.`

	textConfigCheckLong = `Reads FILE (- is standard input; default: the file that the agent would read)
and says what is wrong with it, with file and line. Exits with 2 when the agent
would not start on it.`

	textConfigInitLong = `Writes a commented configuration, never over one that is there. Without
--address, it takes VAULT_ADDR if that names another machine, else an example
that has to be edited.`

	textCompletionLong = `Prints the completion script for SHELL: bash, zsh, fish or powershell.

  bash         source <(stepup completion bash)
  zsh          stepup completion zsh > "${fpath[1]}/_stepup"
  fish         stepup completion fish | source
  powershell   stepup completion powershell | Out-String | Invoke-Expression`
)

// Ways out. A %s stands for the ID of a prompt, if nothing else is said.
const (
	hintStartAgent   = "start it with `stepup agent`"
	hintOneAgent     = "`stepup status` shows it; set STEPUP_RUNTIME_DIR to run a second one"
	hintAddressTaken = "`stepup doctor` says who has the address"
	hintListPrompts  = "`stepup prompts` lists what can be answered"
	hintAnswer       = "`stepup answer ID` answers one, `stepup deny ID` says no"
	hintPush         = "approve it on your phone, or say no with `stepup deny %s`"
	hintGroup        = "wait for them, or give up with `stepup deny %s`"
	hintPassword     = "run `stepup answer %s` and type it, or pipe it to that"
	hintPipe         = "pipe the answer: `… | stepup answer %s`"
	hintStillOpen    = "it is still open: `stepup answer %s`"
	hintNoTerminal   = "without a terminal, use `stepup prompts` and `stepup answer ID`"
	hintAttachLater  = "start it with `stepup agent`, then attach again"
	hintAttachAgain  = "run `stepup attach` again"
	hintConfigFlag   = "name it with --config FILE or STEPUP_CONFIG"
	hintAddress      = "write the address as in --address https://vault.example.com:8200"
	hintExists       = "edit it, or write another with --config FILE; `stepup config check` says whether it is good"
	hintShells       = "there is one for %s"
)

// What is said on standard error while a terminal is attached.
const (
	textAttached  = "stepup: waiting for prompts (ctrl-c says no to one, and leaves when there is none)"
	textSent      = "  sent"
	textTooLate   = "  too late: it was decided already"
	textNotSent   = "  the agent did not get it: %v"
	textAskAgain  = "that answer does not fit, please try again"
	textStillOpen = "  still open: stepup answer %s"
	textNotShown  = "stepup: a notice cannot be shown: %v"
	textLeft      = "\nstepup: no longer attached"
)

// Results and pieces of errors.
const (
	textMissing       = "missing argument %s"
	textTooMany       = "too many arguments"
	textNoSubcommand  = "missing subcommand"
	textBadFormat     = "must be text or json"
	textStdin         = "reading standard input: %w"
	textStdinName     = "standard input"
	textAnswered      = "answered %s"
	textDenied        = "denied %s"
	textExists        = "%s exists already"
	textEmpty         = "it is empty"
	textNoShell       = "there is no completion for %q"
	textFromVaultAddr = "from VAULT_ADDR"
	textExample       = "an example: put your own in"
	exampleAddress    = "https://vault.example.com:8200"
)

var (
	// errReported: the person has read about it already.
	errReported         = errors.New("already reported")
	errNoSuchPrompt     = fmt.Errorf("%w: it was answered, denied or has timed out", prompt.ErrUnknown)
	errGroupAnswer      = errors.New("this prompt is decided by other people")
	errPushAnswer       = errors.New("this prompt is decided on the phone")
	errPasswordArgument = errors.New("a password is never an argument: other users of this machine could read it")
	errLongAnswer       = errors.New("the answer on standard input is too long")
	errNotAnswered      = errors.New("not answered")
	errAgentStopped     = errors.New("the agent has stopped")
	errDropped          = errors.New("the agent has closed the connection")
	errNoConfigFolder   = errors.New("cannot tell where the configuration is: neither HOME nor XDG_CONFIG_HOME is set")
)

func seeHelp(command string) string { return fmt.Sprintf("see `%s --help`", command) }

func noAgent(runtimeDir string) error {
	return fmt.Errorf("%w in %s", control.ErrNoAgent, printable(runtimeDir))
}

func unknownCommand(parent *cobra.Command, name string) error {
	hint := seeHelp(parent.CommandPath())
	parent.SuggestionsMinimumDistance = 2
	if near := parent.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("did you mean `%s %s`?", parent.CommandPath(), near[0])
	}
	return usage(fmt.Errorf("unknown command %q", name), hint)
}

// answerHint says what would have been an answer to p.
func answerHint(p control.Prompt) string {
	switch p.Kind {
	case prompt.Choose:
		var choices []string
		for i, c := range p.Choices {
			choices = append(choices, fmt.Sprintf("%d) %s", i+1, printable(c)))
		}
		return "answer with a name or a number: " + strings.Join(choices, ", ")
	case prompt.Password:
		return "the password is empty or too long"
	}
	return "answer with the code that your app or key shows"
}

// say prints a line of a result.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }

// notify prints a line that is no result.
func (a *app) notify(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

func (a *app) hint(text string) { fmt.Fprintf(a.err, "hint: %s\n", text) }

// fail prints what went wrong and the way out, if there is one.
func (a *app) fail(err error, hint string) {
	fmt.Fprintf(a.err, "error: %v\n", err)
	if hint != "" {
		a.hint(hint)
	}
}

// printable keeps what could move the cursor, reorder a line or break it out of
// text for people. It is less strict than prompt.Sanitize, which would spoil the
// addresses and file names that a status is read for.
func printable(s string) string {
	const limit = 400
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == utf8.RuneError, unicode.Is(unicode.Bidi_Control, r), !unicode.IsPrint(r) && !unicode.IsSpace(r):
			r = '?'
		case unicode.IsSpace(r):
			r = ' '
		}
		if b.WriteRune(r); b.Len() > limit {
			return b.String() + "…"
		}
	}
	return b.String()
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_./:@%+=,-", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// terminal returns standard error as a file if it is a terminal.
func (a *app) terminal() (*os.File, bool) {
	f, ok := a.err.(*os.File)
	return f, ok && terminal.IsTerminal(f)
}

// width is how wide text for people may be.
func (a *app) width() int {
	if f, ok := a.terminal(); ok {
		if w := terminal.Columns(f); w > 0 {
			return w
		}
	}
	return 100
}

// color reports whether text for people may have colours (no-color.org).
func (a *app) color() bool {
	_, ok := a.terminal()
	return ok && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
}
