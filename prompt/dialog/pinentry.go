package dialog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// Errors of libgpg-error as pinentry gives them; the upper bits name the
// program that they are from.
const (
	gpgMask          = 0xffff
	gpgTimeout       = 62
	gpgCanceled      = 99
	gpgNotConfirmed  = 114
	gpgFullyCanceled = 198 // the window was closed
)

// maxPinentryChoices leaves the field and the buttons on the screen: there they are lines of
// the text, which does not scroll.
const maxPinentryChoices = 12

// pinentryProgram asks through a pinentry, in a conversation line by line (Assuan):
// https://www.gnupg.org/documentation/manuals/assuan/. It hides all that is typed.
func pinentryProgram(name string, accept func(flavour string) bool) program {
	return program{name: name, ask: func(ctx context.Context, j job) (string, error) {
		if len(j.text.request.Choices) > maxPinentryChoices {
			return "", fmt.Errorf("%w: the choices do not fit into a pinentry", prompt.ErrUnavailable)
		}
		watched, unwatch := j.watcher.watch(ctx, j.environ)
		defer unwatch()
		run, end := context.WithCancel(watched)
		defer end()
		cmd := exec.CommandContext(run, j.path)
		cmd.Env = j.environ
		cmd.WaitDelay = prompt.KillDelay
		release := prompt.OwnGroup(cmd)
		in, inErr := cmd.StdinPipe()
		out, outErr := cmd.StdoutPipe()
		if err := errors.Join(inErr, outErr); err != nil {
			return "", fmt.Errorf("%w: %w", prompt.ErrUnavailable, err)
		}
		if err := cmd.Start(); err != nil {
			return "", fmt.Errorf("%w: %s cannot be started: %w", prompt.ErrUnavailable, name, err)
		}
		// A child of its own could hold the pipe open when it is dead.
		stop := context.AfterFunc(watched, func() { _ = out.Close() })
		answer, err := askPinentry(newAssuan(out, in), j, accept)
		stop()
		_ = in.Close() // it leaves by itself then, or is made to
		hurry := time.AfterFunc(prompt.KillDelay, end)
		_ = cmd.Wait() // err says all that matters
		hurry.Stop()
		release()
		switch cause := context.Cause(watched); {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(cause, errUnseen):
			return "", cause
		}
		return answer, err
	}}
}

// askPinentry holds the conversation. Nothing is shown before its last command.
func askPinentry(a *assuan, j job, accept func(flavour string) bool) (string, error) {
	if _, err := a.reply(); err != nil {
		return "", pinentryProblem(err)
	}
	// It may have found no display and fallen back to curses. A small one does not know the
	// command, and is of no flavour.
	flavour, err := a.call("GETINFO", "flavor")
	if err != nil && !isAssuan(err) {
		return "", pinentryProblem(err)
	}
	if !accept(flavour) {
		return "", fmt.Errorf("%w: pinentry of flavour %q", prompt.ErrUnavailable, prompt.Sanitize(flavour, prompt.MaxName))
	}
	t := j.text
	t.request.Keeps = nil // a word that is typed is not shown
	if len(assuanEscape(choicesText(t.request))) > maxAssuanText/2 {
		return "", fmt.Errorf("%w: the choices do not fit into a pinentry", prompt.ErrUnavailable)
	}
	for _, option := range pinentryOptions(j) {
		// A pinentry that does not know an option does without.
		if _, err := a.call("OPTION", option); err != nil && !isAssuan(err) {
			return "", pinentryProblem(err)
		}
	}
	// GNOME's ignores SETNOTOK and has two buttons.
	confirm := t.request.Kind == prompt.Confirm
	wanted := confirm && !strings.HasPrefix(flavour, "gnome3")
	canDeny := false
	for _, line := range pinentryTexts(t, wanted) {
		_, err := a.call(line[0], line[1])
		switch {
		case err == nil && line[0] == "SETNOTOK":
			canDeny = true
		case err != nil && (!isAssuan(err) || line[0] == "SETDESC"):
			return "", pinentryProblem(err) // better no window than one without its reason
		}
	}
	if confirm {
		if _, err := a.call("CONFIRM", ""); err != nil {
			return "", pinentryAnswer(err, canDeny)
		}
		return "yes", nil
	}
	answer, err := a.call("GETPIN", "")
	if err != nil {
		return "", pinentryAnswer(err, false)
	}
	return answer, nil
}

// pinentryOptions are settings that a pinentry may or may not know.
func pinentryOptions(j job) []string {
	options := []string{"no-grab", "lc-ctype=" + prompt.Locale(prompt.Getenv(j.environ))}
	if p := j.text.request.Requester; p.PID > 0 && p.UID >= 0 {
		if host, err := os.Hostname(); err == nil {
			options = append(options, fmt.Sprintf("owner=%d/%d %s", p.PID, p.UID, prompt.Sanitize(host, prompt.MaxName)))
		}
	}
	return options
}

// pinentryTexts are the commands that fill the window, with a button for a no where
// canDeny is set.
func pinentryTexts(t dialogText, canDeny bool) [][2]string {
	texts := [][2]string{
		{"SETTITLE", t.request.Title()},
		{"SETCANCEL", prompt.LabelNotNow},
	}
	confirm, field := t.request.Kind == prompt.Confirm, "Password:"
	switch t.request.Kind {
	case prompt.Passcode:
		field = "Passcode:"
	case prompt.Choose:
		field = "Number:"
	}
	texts = append(texts, [2]string{"SETOK", t.goLabel()})
	if !confirm {
		texts = append(texts, [2]string{"SETPROMPT", field})
	}
	if canDeny {
		texts = append(texts, [2]string{"SETNOTOK", prompt.LabelDeny})
	}
	if n := t.windowSeconds(); n > 0 {
		texts = append(texts, [2]string{"SETTIMEOUT", strconv.Itoa(n)})
	}
	facts, instructions := t.facts(), joinBlocks(t.seedText(), choicesText(t.request), t.instructions(canDeny))
	if confirm { // there it shows no error
		facts = joinBlocks(facts, t.problem())
	} else if problem := t.problem(); problem != "" {
		texts = append(texts, [2]string{"SETERROR", problem})
	}
	// A line holds a thousand bytes: the text that a stranger has a part in is cut, not
	// our own words behind it.
	room := maxAssuanText - len(assuanEscape(instructions)) - len(assuanEscape("\n\n"))
	return append(texts, [2]string{"SETDESC", clipEscaped(facts, room) + "\n\n" + instructions})
}

// choicesText are the choices in lines: a pinentry has no list, so the answer is a number.
func choicesText(r prompt.Request) string { return strings.Join(r.NumberedChoices(), "\n") }

// clipEscaped shortens a text of ours so that its escaped form has room bytes.
func clipEscaped(text string, room int) string {
	if len(assuanEscape(text)) <= room {
		return text
	}
	for len(assuanEscape(text)) > room-len("...") && text != "" {
		text = text[:len(text)-1]
	}
	return text + "..."
}

// pinentryAnswer returns the error of a question that ended without an answer.
func pinentryAnswer(err error, canDeny bool) error {
	var fault assuanError
	if !errors.As(err, &fault) {
		return pinentryProblem(err)
	}
	switch fault.code & gpgMask {
	case gpgCanceled, gpgFullyCanceled, gpgTimeout:
		return prompt.ErrDismissed // time is over: we take it down before that, if we are there
	case gpgNotConfirmed:
		if canDeny {
			return prompt.ErrDenied
		}
		return prompt.ErrDismissed // of an old one that has two buttons only
	}
	return pinentryProblem(err)
}

func pinentryProblem(err error) error {
	return fmt.Errorf("%w: pinentry: %w", prompt.ErrUnavailable, err)
}

func isAssuan(err error) bool {
	var fault assuanError
	return errors.As(err, &fault)
}

// hasWindow accepts the flavours that draw a window of their own.
func hasWindow(flavour string) bool { return flavour != "" && !drawsOnTerminal(flavour) }

// drawsOnTerminal reports whether a flavour draws on any terminal that it finds.
func drawsOnTerminal(flavour string) bool {
	return strings.Contains(flavour, "curses") || strings.Contains(flavour, "tty")
}
