// Package command asks through a program of the user.
package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A Config says which program asks the person.
type Config struct {
	Args    []string        // program and arguments; not run by a shell
	Environ func() []string // nil means os.Environ; secrets are taken out
	Log     *slog.Logger    // nil means none
}

// A Prompter asks through a program of the user: the question is one JSON object
// on its standard input, the answer its standard output. Exit 0 answered, 1 denied,
// anything else cannot ask now. Its process group is killed when the question is
// decided or at the deadline.
type Prompter struct {
	config  Config
	program program
}

var _ prompt.Prompter = (*Prompter)(nil)

// New returns a prompter that runs c.Args, which must not be empty.
func New(c Config) *Prompter {
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	log := cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Prompter{config: c, program: program{kind: "prompt command", word: "command", path: c.Args[0], log: log}}
}

// question is the JSON of the contract; no field is ever left out.
type question struct {
	ID         string      `json:"id"`
	Kind       prompt.Kind `json:"kind"`
	Rule       string      `json:"rule"`
	Vault      string      `json:"vault"`
	Namespace  string      `json:"namespace"`
	Path       string      `json:"path"`
	Operation  string      `json:"operation"`
	Method     string      `json:"method"`
	MethodType string      `json:"method_type"`
	Digits     int         `json:"digits"`
	Choices    []string    `json:"choices"`
	Attempt    int         `json:"attempt"`
	Attempts   int         `json:"attempts"`
	Message    string      `json:"message"`
	Allows     string      `json:"allows"`
	// So that a question without a choice looks as it always did.
	Keeps     []prompt.KeepChoice `json:"keeps,omitempty"`
	Number    string              `json:"number"`
	Requester requester           `json:"requester"`
	Deadline  string              `json:"deadline"`
}

// requester has the fields of the contract, which are fewer than those of the control
// socket.
type requester struct {
	PID   int      `json:"pid"`
	UID   int      `json:"uid"`
	Exe   string   `json:"exe"`
	Chain []string `json:"chain"`
	// Of a program that hides itself, or that root has not installed, so that others look as
	// they always did.
	Hidden bool               `json:"hidden,omitempty"`
	MayBe  []prompt.Candidate `json:"may_be,omitempty"`
	Origin prompt.Origin      `json:"origin,omitempty"`
}

// encode returns the question of a sanitised request as one line.
func encode(r prompt.Request) ([]byte, error) {
	q := r.Requester
	line, err := json.Marshal(question{
		ID: r.ID, Kind: r.Kind, Rule: r.Rule, Vault: r.Vault, Namespace: r.Namespace, Path: r.Path,
		Operation: r.Operation, Method: r.Method, MethodType: r.MethodType, Digits: r.Digits, Choices: r.Choices,
		Attempt: r.Attempt, Attempts: r.Attempts, Message: r.Message, Allows: r.Allows, Keeps: r.Keeps, Number: r.Number,
		Requester: requester{PID: q.PID, UID: q.UID, Exe: q.Exe, Chain: q.Chain, Hidden: q.Hidden, MayBe: q.MayBe, Origin: q.Origin},
		Deadline:  r.Deadline.Format(time.RFC3339),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the prompt: %w", err)
	}
	return append(line, '\n'), nil
}

// Prompt implements [prompt.Prompter].
func (c *Prompter) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.Enrolment != nil {
		// The fields of a question are fixed, and a program that logs it must not get a secret.
		return "", fmt.Errorf("%w: a prompt command does not show the secret of an authenticator", prompt.ErrUnavailable)
	}
	input, err := encode(r.Sanitized())
	if err != nil {
		return "", fmt.Errorf("%w: %w", prompt.ErrUnavailable, err)
	}
	answer, err := c.program.within(ctx, r, func(ctx context.Context) (string, error) { return c.run(ctx, input) })
	if err != nil {
		return "", err
	}
	return r.ChoiceAsGiven(answer), nil
}

func (c *Prompter) run(ctx context.Context, input []byte) (string, error) {
	cmd := exec.CommandContext(ctx, c.config.Args[0], c.config.Args[1:]...)
	cmd.Env = prompt.WithoutSecrets(c.config.Environ())
	cmd.Stdin = bytes.NewReader(input)
	answer, err := c.program.output(ctx, cmd, prompt.MaxAnswer)
	switch {
	case !errors.Is(err, errExit):
		return answer, err
	case cmd.ProcessState.ExitCode() == 2:
		return "", c.program.failed("exit status 2: it cannot ask now")
	}
	return "", c.program.ended(cmd)
}
