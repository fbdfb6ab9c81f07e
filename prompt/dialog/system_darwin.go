package dialog

import (
	"context"
	"os/exec"

	"github.com/vault-stepup/stepup/prompt"
)

// capabilities returns the programs for the one screen. osascript says by itself when
// this process may not use it (over ssh).
func capabilities(_ context.Context, c Config, r prompt.Request) ([]string, []program, error) {
	return prompt.WithoutSecrets(c.Environ()), macPrograms(r.Kind), nil
}

func hideConsole(*exec.Cmd) {}
