package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// modeVariable tells a program which kind of answer is wanted (readpass.c of OpenSSH).
const modeVariable = "SSH_ASKPASS_PROMPT"

// maxAsked bounds how often one question comes again after an answer that does not fit: a
// program that answers by itself must not spin.
const maxAsked = 3

// An AskpassConfig says which program asks the person, and where.
type AskpassConfig struct {
	Program string // as exec.LookPath takes it
	// Session finds the screen for a question of the requester, as for windows. Where it
	// finds none, the program runs without one. nil means the agent's own.
	Session func(context.Context, prompt.Requester) (prompt.Session, error)
	Environ func() []string // nil means os.Environ; secrets are taken out
	Log     *slog.Logger    // nil means none
}

// An Askpass asks through a program in the manner of SSH_ASKPASS: the question is its only
// argument, the answer the first line of its standard output. Exit 0 answered and exit 1
// denied, which is what the button Cancel of such programs does; anything else could not ask
// now. For a Confirm, SSH_ASKPASS_PROMPT is "confirm", and exit 0 with nothing or "yes" is a
// yes; for a Push with a number it is "none", and the end of the program means nothing. The
// process group is killed when the question is decided or at the deadline.
type Askpass struct {
	config  AskpassConfig
	program program
}

var _ prompt.Prompter = (*Askpass)(nil)

// NewAskpass returns a prompter that runs c.Program.
func NewAskpass(c AskpassConfig) *Askpass {
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	log := cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Askpass{config: c, program: program{kind: "askpass program", word: "program", path: c.Program, log: log}}
}

// Prompt implements [prompt.Prompter]. It does not show a push without a number, which is
// not for a window that wants an answer, nor the secret of an authenticator, which must not
// be in an argument.
func (a *Askpass) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.Kind == prompt.Push && r.Sanitized().Number == "" || r.Enrolment != nil {
		return "", fmt.Errorf("%w: a program in the manner of SSH_ASKPASS is not for this", prompt.ErrUnavailable)
	}
	return a.program.within(ctx, r, func(ctx context.Context) (string, error) { return a.converse(ctx, r) })
}

// converse asks until there is an answer that fits.
func (a *Askpass) converse(ctx context.Context, r prompt.Request) (string, error) {
	sanitized := r.Sanitized()
	note := ""
	for range maxAsked {
		typed, err := a.run(ctx, sanitized, note)
		if err != nil {
			return "", err
		}
		if r.Kind == prompt.Push {
			return "", nil // it only told something, and may be closed at will
		}
		answer, err := prompt.Check(withoutCode(sanitized), typed)
		if !errors.Is(err, prompt.ErrAnswer) {
			return r.ChoiceAsGiven(answer), err
		}
		note = sanitized.RetryNote(typed)
	}
	return "", prompt.ErrDismissed
}

// withoutCode is r as it is asked here: there is one field, so the code is asked for later.
func withoutCode(r prompt.Request) prompt.Request {
	r.WithCode = prompt.WithCode{}
	return r
}

func (a *Askpass) run(ctx context.Context, r prompt.Request, note string) (string, error) {
	cmd := exec.CommandContext(ctx, a.config.Program, commandLine(r, note))
	cmd.Env = a.environ(ctx, r)
	output, err := a.program.output(ctx, cmd, 2*prompt.MaxAnswer) // standard input is empty
	switch exited := cmd.ProcessState != nil && cmd.ProcessState.ExitCode() >= 0; {
	case r.Kind == prompt.Push && exited && ctx.Err() == nil:
		return "", nil
	case errors.Is(err, errExit):
		return "", a.program.ended(cmd)
	case err != nil:
		return "", err
	}
	answer, _, _ := strings.Cut(output, "\n")
	answer = strings.TrimSuffix(answer, "\r")
	if r.Kind == prompt.Confirm && !isYes(answer) {
		return "", prompt.ErrDenied
	}
	return answer, nil
}

// isYes is that of ssh-add -c (readpass.c, ask_permission): what is not a yes is a no.
func isYes(answer string) bool {
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "" || answer == "y" || answer == "yes"
}

// environ is that of the screen of the requester, with the mode of the question.
func (a *Askpass) environ(ctx context.Context, r prompt.Request) []string {
	environ := prompt.WithoutSecrets(a.config.Environ())
	if a.config.Session != nil {
		if s, err := a.config.Session(ctx, r.Requester); err == nil {
			environ = s.Environ(environ)
		}
	}
	kept := make([]string, 0, len(environ)+1)
	for _, variable := range environ {
		if !strings.HasPrefix(variable, modeVariable+"=") {
			kept = append(kept, variable)
		}
	}
	switch r.Kind {
	case prompt.Confirm:
		kept = append(kept, modeVariable+"=confirm")
	case prompt.Push:
		kept = append(kept, modeVariable+"=none")
	}
	return kept
}

// commandLine is the question of a sanitised request for a command line, which every user of
// the machine can read. So it has no message: a line that a passcode program has printed may
// be in there. It begins with a letter, so that it is no option.
func commandLine(r prompt.Request, note string) string {
	r.Message = note
	lines := []string{prompt.Brief(r)}
	if details := r.Details(); details != "" {
		lines = append(lines, details)
	}
	lines = append(append(lines, r.Notes()...), "")
	if r.Kind == prompt.Choose {
		lines = append(lines, r.NumberedChoices()...)
	}
	label := r.Label()
	if r.Kind != prompt.Push && r.Kind != prompt.Confirm {
		label += ":"
	}
	lines = append(lines, label)
	return strings.Join(lines, "\n")
}
