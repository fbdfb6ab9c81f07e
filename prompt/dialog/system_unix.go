//go:build unix && !darwin

package dialog

import (
	"context"
	"os/exec"

	"github.com/vault-stepup/stepup/prompt"
)

// capabilities finds the session that the question belongs to, and returns the
// environment and the programs for it there, best first.
func capabilities(ctx context.Context, c Config, r prompt.Request) ([]string, []program, error) {
	session, err := c.Session(ctx, r.Requester)
	if err != nil {
		return nil, nil, err
	}
	return dialogEnviron(c.Environ(), session), sessionPrograms(r, session), nil
}

func hideConsole(*exec.Cmd) {}
