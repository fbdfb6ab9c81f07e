package attach

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
	"github.com/vault-stepup/stepup/cmd/stepup/internal/answering"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// maxTyped is more than any answer that the agent takes.
const maxTyped = 16 << 10

func answerCommand(c *cli.Console) *cobra.Command {
	keep := ""
	cmd := &cobra.Command{
		Use: "answer [ID] [CODE]", Short: "answer a question", Long: textAnswerLong, Args: cli.Takes(2), ValidArgsFunction: c.CompleteID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAnswer(cmd.Context(), c, args, prompt.Keep(keep))
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "how long the step-up is kept: once, rule or lock")
	cli.CompleteFlag(cmd, "keep", cli.CompleteWords(string(prompt.KeepOnce), string(prompt.KeepRule), string(prompt.KeepLock)))
	return cmd
}

func runAnswer(ctx context.Context, c *cli.Console, args []string, keep prompt.Keep) error {
	client := c.Client()
	p, code, err := findPrompt(ctx, client, args)
	if err != nil {
		return err
	}
	if err := checkKeep(p, keep); err != nil {
		return err
	}
	var answer string
	switch {
	case p.Kind == prompt.Push && p.MethodType == prompt.ControlGroup:
		return &cli.Error{
			Err:  errors.New("this question is decided by other people"),
			Hint: fmt.Sprintf("wait for them, or give up with `stepup deny %s`", p.ID),
		}
	case p.Kind == prompt.Push:
		return &cli.Error{
			Err:  errors.New("this question is decided on the phone"),
			Hint: fmt.Sprintf("approve it on your phone, or say no with `stepup deny %s`", p.ID),
		}
	case len(code) > 0 && p.Kind == prompt.Password:
		// Every user of the machine can read the arguments of a process, and the
		// shell's history keeps them: a code is worthless soon, a password is not.
		return cli.Usage(errors.New("a password is never an argument: other users of this machine could read it"),
			fmt.Sprintf("run `stepup answer %s` and type it, or pipe it to that", p.ID))
	case len(code) > 0:
		answer = code[0]
	case c.Typed():
		if err := haveTerminal(); err != nil {
			return &cli.Error{Err: err, Hint: fmt.Sprintf("pipe the answer: `… | stepup answer %s`", p.ID)}
		}
		if answer, err = ask(ctx, newTerminal(c), client, p); err != nil {
			return err
		}
	default:
		if answer, err = readAnswer(c.In); err != nil {
			return err
		}
		if answer == "" {
			return &cli.Error{Err: errors.New("there is no answer on standard input"), Hint: answerHint(p)}
		}
	}
	err = client.Answer(ctx, p.ID, prompt.WithKeep(answer, keep))
	if errors.Is(err, prompt.ErrAnswer) {
		return &cli.Error{Err: prompt.ErrAnswer, Hint: answerHint(p)}
	}
	if err == nil {
		c.Say("answered %s", p.ID)
	}
	return err
}

// checkKeep fails where p has no such choice.
func checkKeep(p prompt.Request, keep prompt.Keep) error {
	if keep == "" || keep == prompt.KeepRule {
		return nil
	}
	hint := "leave --keep out"
	if len(p.Keeps) == 0 {
		hint += ": there is nothing to choose"
	}
	for _, c := range p.Keeps {
		if c.Word == keep {
			return nil
		}
		hint += fmt.Sprintf(", or use --keep %s (%s)", c.Word, cli.Printable(c.Means))
	}
	return cli.Usage(fmt.Errorf("this question cannot be answered with --keep %s", cli.Printable(string(keep))), hint)
}

// findPrompt finds the prompt that is meant by [ID] [CODE], and returns what is left of the
// arguments. Without an ID it is the only one that is open.
func findPrompt(ctx context.Context, client *control.Client, args []string) (p prompt.Request, code []string, err error) {
	open, err := client.Prompts(ctx)
	if err != nil {
		return p, nil, err
	}
	if len(args) > 0 {
		for _, p := range open {
			if strings.EqualFold(p.ID, strings.TrimSpace(args[0])) {
				return p, args[1:], nil
			}
		}
		// The ID of a prompt that is over must not be sent as the code of the next one:
		// an ID is of six characters, mostly with a letter.
		if len(args) > 1 || !looksLikeCode(args[0]) || len(open) == 1 && open[0].Kind != prompt.Passcode {
			return p, nil, fmt.Errorf("%w: it was answered, denied or has timed out", prompt.ErrUnknown)
		}
	}
	switch len(open) {
	case 1:
		return open[0], args, nil
	case 0:
		return p, nil, fmt.Errorf("%w: none is open", prompt.ErrUnknown)
	}
	var ids []string
	for _, p := range open {
		ids = append(ids, p.ID)
	}
	return p, nil, cli.Usage(fmt.Errorf("%d questions are open", len(open)), "say which one: "+cli.Printable(strings.Join(ids, ", "))+" (`stepup prompts` lists them)")
}

// looksLikeCode reports whether an argument is a passcode rather than an ID.
func looksLikeCode(arg string) bool {
	digits := strings.ReplaceAll(strings.TrimSpace(arg), " ", "")
	return len(digits) >= 6 && strings.Trim(digits, "0123456789") == ""
}

// readAnswer takes the first line of standard input. It does not wait for the
// end: a program may keep its end open until it has seen the result.
func readAnswer(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxTyped)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	if len(line) == maxTyped {
		return "", errors.New("the answer on standard input is too long")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// ask shows the prompt on a terminal and returns the answer. A no of the
// person is passed on to the agent.
func ask(ctx context.Context, terminal prompt.Prompter, client answering.Decider, r prompt.Request) (string, error) {
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
		return "", &cli.Error{Err: prompt.ErrDenied, Code: cli.ExitRefused}
	case errors.Is(context.Cause(asking), prompt.ErrTimeout):
		return "", &cli.Error{Err: prompt.ErrTimeout, Code: cli.ExitRefused}
	}
	return "", &cli.Error{Err: cli.ErrNotAnswered, Hint: fmt.Sprintf("it is still open: `stepup answer %s`", r.ID), Code: cli.ExitRefused}
}

// newTerminal asks on the controlling terminal.
func newTerminal(c *cli.Console) *terminal.Prompter {
	return terminal.New(terminal.Config{Getenv: c.Env})
}

// haveTerminal returns an error wrapping prompt.ErrUnavailable when this process has no
// terminal to ask on.
func haveTerminal() error {
	tty, err := terminal.Open()
	if err != nil {
		return err
	}
	return tty.Close()
}

const textAnswerLong = `Answers the question with the ID that "stepup prompts" lists; without ID, the
only one that is open. Without CODE, the answer is asked for on the terminal, or
is the first line of standard input where that is no terminal:

  ykman oath accounts code -s Vault | stepup answer ab3d5f

A CODE on the command line can be read by every user of this machine while the
command runs (ps), and stays in the shell's history. For a one-time code that
is a small risk. A password is refused there: type it or pipe it.

With --keep once the step-up serves the requests that wait for it, and no other;
with --keep lock it is kept until "stepup lock", a locked screen or the end of
the agent, within the limits of the rule. The same words may stand behind the
passcode.

The answer to a choice is its name or its number. Exits with 1 when there is no
such question or the answer does not fit, and with 3 when it asked you and you
said no or did not answer.`

// answerHint describes the answers that p takes.
func answerHint(p prompt.Request) string {
	switch p.Kind {
	case prompt.Choose:
		var choices []string
		for i, c := range p.Choices {
			choices = append(choices, fmt.Sprintf("%d) %s", i+1, cli.Printable(c)))
		}
		return "answer with a name or a number: " + strings.Join(choices, ", ")
	case prompt.Password:
		return "the password is empty or too long"
	}
	return "answer with the code that your app or key shows"
}
