// Package command asks through a program of the user.
package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
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
	config Config
}

var _ prompt.Prompter = (*Prompter)(nil)

// New returns a prompter that runs c.Args, which must not be empty.
func New(c Config) *Prompter {
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Prompter{config: c}
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
	Number     string      `json:"number"`
	Requester  requester   `json:"requester"`
	Deadline   string      `json:"deadline"`
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
		Attempt: r.Attempt, Attempts: r.Attempts, Message: r.Message, Allows: r.Allows, Number: r.Number,
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
	limited, cancel := context.WithDeadline(ctx, r.Deadline)
	defer cancel()
	answer, err := c.run(limited, input)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		c.config.Log.Warn("prompt command did not answer in time", "command", c.name(), "id", r.ID)
		return "", c.failed("no answer in time")
	case err != nil:
		return "", err
	}
	return r.ChoiceAsGiven(answer), nil
}

func (c *Prompter) run(ctx context.Context, input []byte) (string, error) {
	cmd := exec.CommandContext(ctx, c.config.Args[0], c.config.Args[1:]...)
	cmd.Env = prompt.WithoutSecrets(c.config.Environ())
	cmd.Stdin = bytes.NewReader(input)
	// Standard error goes nowhere: a script under "set -x" would write the code there.
	answer, err := prompt.RunProgram(cmd, prompt.MaxAnswer)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if cmd.ProcessState == nil {
		c.config.Log.Warn("prompt command cannot be started", "command", c.name(), "error", err)
		return "", c.failed("it cannot be started")
	}
	switch code := cmd.ProcessState.ExitCode(); code {
	case 0:
		return answer, nil
	case 1:
		return "", prompt.ErrDenied
	case 2:
		return "", c.failed("exit status 2: it cannot ask now")
	default:
		c.config.Log.Warn("prompt command failed", "command", c.name(), "state", cmd.ProcessState.String())
		return "", c.failed(cmd.ProcessState.String())
	}
}

func (c *Prompter) failed(state string) error {
	return &prompt.ProgramError{Program: c.name(), State: state}
}

// name returns the program's name for logs; its arguments may say more than they should.
func (c *Prompter) name() string { return filepath.Base(c.config.Args[0]) }
