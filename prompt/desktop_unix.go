//go:build unix && !darwin

package prompt

import (
	"context"
	"os/exec"
)

// surface finds the session that the question belongs to and what it can be
// asked with there, best first.
func (d *Desktop) surface(ctx context.Context, r Request) ([]string, []dialog, error) {
	session, err := d.config.Sessions.Find(ctx, r.Requester)
	if err != nil {
		return nil, nil, err
	}
	return dialogEnviron(d.config.Environ(), session), sessionDialogs(r, session), nil
}

func ownWindow(cmd *exec.Cmd) (release func()) { return ownGroup(cmd) }
