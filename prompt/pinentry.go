package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
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

// pinentryDialog asks through a pinentry, which is spoken to line by line
// (Assuan): https://www.gnupg.org/documentation/manuals/assuan/. It hides
// whatever is typed.
func pinentryDialog(program string, accept func(flavour string) bool) dialog {
	return dialog{program: program, ask: func(ctx context.Context, j job) (string, error) {
		run, end := context.WithCancel(ctx)
		defer end()
		cmd := exec.CommandContext(run, j.path)
		cmd.Env = j.environ
		cmd.WaitDelay = killDelay
		release := ownGroup(cmd)
		in, err := cmd.StdinPipe()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := cmd.Start(); err != nil {
			return "", fmt.Errorf("%w: %s cannot be started: %w", ErrUnavailable, program, err)
		}
		// A child of its own could hold the pipe open when it is dead.
		stop := context.AfterFunc(ctx, func() { _ = out.Close() })
		answer, err := askPinentry(newAssuan(out, in), j, accept)
		stop()
		_ = in.Close() // it leaves by itself then, or is made to
		hurry := time.AfterFunc(killDelay, end)
		_ = cmd.Wait() // err says all that matters
		hurry.Stop()
		release()
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return answer, err
	}}
}

// askPinentry holds the conversation. Nothing is shown before its last command.
func askPinentry(a *assuan, j job, accept func(flavour string) bool) (string, error) {
	if _, err := a.reply(); err != nil {
		return "", pinentryTrouble(err)
	}
	// It may have found no display and fallen back to curses.
	flavour, err := a.call("GETINFO", "flavor")
	if err != nil || !accept(flavour) {
		return "", fmt.Errorf("%w: pinentry of flavour %q", ErrUnavailable, Sanitize(flavour, maxName))
	}
	s := j.sheet
	for _, option := range pinentryOptions(j) {
		// A pinentry that does not know an option does without.
		if _, err := a.call("OPTION", option); err != nil && !isAssuan(err) {
			return "", pinentryTrouble(err)
		}
	}
	// GNOME's has two buttons whatever it is told.
	confirm := s.request.Kind == Confirm
	wanted := confirm && !strings.HasPrefix(flavour, "gnome3")
	canDeny := false
	for _, line := range pinentryTexts(s, wanted) {
		_, err := a.call(line[0], line[1])
		switch {
		case err == nil && line[0] == "SETNOTOK":
			canDeny = true
		case err != nil && (!isAssuan(err) || line[0] == "SETDESC"):
			return "", pinentryTrouble(err) // better none than one that does not say what for
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

// pinentryOptions are settings that it may or may not know.
func pinentryOptions(j job) []string {
	options := []string{"no-grab", "lc-ctype=" + locale(j.environ)}
	if p := j.sheet.request.Requester; p.PID > 0 && p.UID >= 0 {
		if host, err := os.Hostname(); err == nil {
			options = append(options, fmt.Sprintf("owner=%d/%d %s", p.PID, p.UID, Sanitize(host, maxName)))
		}
	}
	return options
}

// locale is the name of the character set that a program with this environment
// uses.
func locale(environ []string) string {
	values := make(map[string]string, 3)
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if values[name] != "" {
			return values[name]
		}
	}
	return "C"
}

// pinentryTexts are the commands that fill the window; canDeny asks for a button
// for a no.
func pinentryTexts(s sheet, canDeny bool) [][2]string {
	texts := [][2]string{
		{"SETTITLE", s.title()},
		{"SETCANCEL", labelLeave},
	}
	confirm := s.request.Kind == Confirm
	if confirm {
		texts = append(texts, [2]string{"SETOK", labelApprove})
	} else {
		texts = append(texts, [2]string{"SETOK", labelSeen}, [2]string{"SETPROMPT", pinentryPrompt(s.request.Kind)})
	}
	if canDeny {
		texts = append(texts, [2]string{"SETNOTOK", labelDeny})
	}
	if s.seconds > 0 {
		texts = append(texts, [2]string{"SETTIMEOUT", strconv.Itoa(s.seconds + 2)})
	}
	facts, wish := s.facts(), joinBlocks(s.seedText(), s.wish(canDeny))
	if confirm { // there it shows no error
		facts = joinBlocks(facts, s.trouble())
	} else if trouble := s.trouble(); trouble != "" {
		texts = append(texts, [2]string{"SETERROR", trouble})
	}
	// A line holds a thousand bytes: what a stranger has a part in is cut, not our
	// own words behind it.
	room := maxAssuanText - len(assuanEscape(wish)) - len(assuanEscape("\n\n"))
	return append(texts, [2]string{"SETDESC", clipEscaped(facts, room) + "\n\n" + wish})
}

// clipEscaped shortens a text of ours so that its escaped form has room bytes.
func clipEscaped(text string, room int) string {
	if len(assuanEscape(text)) <= room {
		return text
	}
	for len(assuanEscape(text)) > room-len(ellipsis) && text != "" {
		text = text[:len(text)-1]
	}
	return text + ellipsis
}

func pinentryAnswer(err error, canDeny bool) error {
	var fault assuanError
	if !errors.As(err, &fault) {
		return pinentryTrouble(err)
	}
	switch fault.code & gpgMask {
	case gpgCanceled, gpgFullyCanceled, gpgTimeout:
		return ErrDismissed // time is over: we take it down before that, if we are there
	case gpgNotConfirmed:
		if canDeny {
			return ErrDenied
		}
		return ErrDismissed // of an old one that has two buttons only
	}
	return pinentryTrouble(err)
}

func pinentryTrouble(err error) error {
	return fmt.Errorf("%w: pinentry: %w", ErrUnavailable, err)
}

func isAssuan(err error) bool {
	var fault assuanError
	return errors.As(err, &fault)
}

// hasWindow accepts the flavours that draw a window of their own.
func hasWindow(flavour string) bool {
	return flavour != "" && !strings.Contains(flavour, "curses") && !strings.Contains(flavour, "tty")
}
