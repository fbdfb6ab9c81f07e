package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// maxTyped is more than any answer that the agent takes.
const maxTyped = 16 << 10

func (a *app) answerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "answer ID [CODE]", Short: textAnswer, Long: textAnswerLong, Args: takes(1, "ID"), ValidArgsFunction: a.completeID,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runAnswer(cmd.Context(), args[0], args[1:]) },
	}
}

func (a *app) runAnswer(ctx context.Context, id string, code []string) error {
	client := a.client()
	p, err := findPrompt(ctx, client, id)
	if err != nil {
		return err
	}
	var answer string
	switch {
	case p.Kind == prompt.Push && p.MethodType == prompt.ControlGroup:
		return &hinted{error: errGroupAnswer, hint: fmt.Sprintf(hintGroup, p.ID)}
	case p.Kind == prompt.Push:
		return &hinted{error: errPushAnswer, hint: fmt.Sprintf(hintPush, p.ID)}
	case len(code) > 0 && p.Kind == prompt.Password:
		// Every user of the machine can read the arguments of a process, and the
		// shell's history keeps them: a code is worthless soon, a password is not.
		return usage(errPasswordArgument, fmt.Sprintf(hintPassword, p.ID))
	case len(code) > 0:
		answer = code[0]
	case a.typed():
		if err := haveTerminal(); err != nil {
			return &hinted{error: err, hint: fmt.Sprintf(hintPipe, p.ID)}
		}
		if answer, err = ask(ctx, a.newTerminal(), client, p.Request()); err != nil {
			return err
		}
	default:
		if answer, err = a.readAnswer(); err != nil {
			return err
		}
	}
	err = client.Answer(ctx, p.ID, answer)
	if errors.Is(err, prompt.ErrAnswer) {
		return &hinted{error: prompt.ErrAnswer, hint: answerHint(p)}
	}
	if err == nil {
		a.say(textAnswered, p.ID)
	}
	return err
}

func findPrompt(ctx context.Context, client *control.Client, id string) (control.Prompt, error) {
	open, err := client.Prompts(ctx)
	if err != nil {
		return control.Prompt{}, err
	}
	for _, p := range open {
		if strings.EqualFold(p.ID, strings.TrimSpace(id)) {
			return p, nil
		}
	}
	return control.Prompt{}, errNoSuchPrompt
}

// typed reports whether standard input is a keyboard.
func (a *app) typed() bool {
	f, ok := a.in.(*os.File)
	return ok && terminal.IsTerminal(f)
}

// readAnswer takes the first line of standard input. It does not wait for the
// end: a program may keep its end open until it has seen what comes of it.
func (a *app) readAnswer() (string, error) {
	line, err := bufio.NewReader(io.LimitReader(a.in, maxTyped)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf(textStdin, err)
	}
	if len(line) == maxTyped {
		return "", errLongAnswer
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// ask shows the prompt on a terminal and returns what was typed. A no of the
// person is passed on to the agent.
func ask(ctx context.Context, terminal prompt.Prompter, client decider, r prompt.Request) (string, error) {
	// A signal must not end us while the terminal shows nothing that is typed.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	asking, cancel := context.WithDeadlineCause(ctx, r.Deadline, prompt.ErrTimeout)
	defer cancel()
	answer, err := terminal.Prompt(asking, r)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, prompt.ErrDenied):
		if err := client.Deny(ctx, r.ID); err != nil {
			return "", err
		}
		return "", &hinted{error: prompt.ErrDenied, code: exitRefused}
	case errors.Is(context.Cause(asking), prompt.ErrTimeout):
		return "", &hinted{error: prompt.ErrTimeout, code: exitRefused}
	}
	return "", &hinted{error: errNotAnswered, hint: fmt.Sprintf(hintStillOpen, r.ID), code: exitRefused}
}

// newTerminal asks on the controlling terminal.
func (a *app) newTerminal() *terminal.Prompter {
	return terminal.New(terminal.Config{Getenv: a.env})
}

// haveTerminal returns an error wrapping prompt.ErrUnavailable when nobody can be
// asked on a terminal of this process.
func haveTerminal() error {
	tty, err := terminal.Open()
	if err != nil {
		return err
	}
	return tty.Close()
}
