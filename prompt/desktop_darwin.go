package prompt

import (
	"context"
	"os/exec"
)

// surface: there is one screen, and osascript says by itself when this process
// may not use it (over ssh).
func (d *Desktop) surface(_ context.Context, r Request) ([]string, []dialog, error) {
	return withoutSecrets(d.config.Environ()), macDialogs(r.Kind), nil
}

func ownWindow(cmd *exec.Cmd) (release func()) { return ownGroup(cmd) }
