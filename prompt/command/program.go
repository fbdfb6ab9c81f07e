package command

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"

	"github.com/vault-stepup/stepup/prompt"
)

// A program is one that asks the person.
type program struct {
	kind string // in the log: "prompt command"
	word string // the key of its name there
	path string
	log  *slog.Logger
}

// within calls ask for as long as r is open.
func (p program) within(ctx context.Context, r prompt.Request, ask func(context.Context) (string, error)) (string, error) {
	limited, cancel := context.WithDeadline(ctx, r.Deadline)
	defer cancel()
	answer, err := ask(limited)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		p.log.Warn(p.kind+" did not answer in time", p.word, p.name(), "id", r.ID)
		return "", p.failed("no answer in time")
	}
	return answer, err
}

// errExit means that the program has ended with another status than 0 and 1.
var errExit = errors.New("the program has failed")

// output runs cmd, and returns at most limit bytes of what it prints. Exit status 1 is a no, and
// another one but 0 is errExit. Standard error goes nowhere: a script under "set -x" would write the
// code there.
func (p program) output(ctx context.Context, cmd *exec.Cmd, limit int) (string, error) {
	answer, err := prompt.RunProgram(cmd, limit)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case cmd.ProcessState == nil:
		p.log.Warn(p.kind+" cannot be started", p.word, p.name(), "error", err)
		return "", p.failed("it cannot be started")
	}
	switch cmd.ProcessState.ExitCode() {
	case 0:
		return answer, nil
	case 1:
		return "", prompt.ErrDenied
	}
	return "", errExit
}

// ended is the error of a program that has failed.
func (p program) ended(cmd *exec.Cmd) error {
	p.log.Warn(p.kind+" failed", p.word, p.name(), "state", cmd.ProcessState.String())
	return p.failed(cmd.ProcessState.String())
}

func (p program) failed(state string) error {
	return &prompt.ProgramError{Program: p.name(), State: state}
}

// name returns the program's name for logs; its arguments may say more than they should.
func (p program) name() string { return filepath.Base(p.path) }
