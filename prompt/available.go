package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Available names the programs that could ask the person who runs this process
// now, best first. It opens no window and starts nothing; it blocks for a few
// seconds at most. The error wraps ErrUnavailable and says what is missing.
func (d *Desktop) Available(ctx context.Context) ([]string, error) {
	_, dialogs, err := d.surface(ctx, Request{Kind: Passcode, Requester: thisProcess()})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, g := range dialogs {
		if _, err := d.config.LookPath(g.program); err == nil {
			names = append(names, g.program)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: no dialog program is installed", ErrUnavailable)
	}
	return names, nil
}

// Available returns nil when a notification could be shown now to the person who
// runs this process, as far as can be told without showing one. Where the session
// can start a notification server, it does.
func (n *Notifier) Available(ctx context.Context) error {
	if n.reach == nil {
		return nil
	}
	err := n.reach(ctx)
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func thisProcess() Requester { return Requester{PID: os.Getpid(), UID: os.Getuid()} }
