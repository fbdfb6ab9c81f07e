package dialog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/x11"
)

// errUnseen says that a program runs and shows nothing. Where no other can ask, that is no way
// to prompt: a timeout would blame the person for a question that was nowhere.
var errUnseen = fmt.Errorf("%w: it has no window on the display", prompt.ErrUnavailable)

const (
	lookAgain = time.Second // between two looks at the display
	// lookLimit is how long a display may take to answer. One that is held up for longer shows no
	// question either.
	lookLimit = 10 * time.Second
	// slowLook is more than a display takes that no program holds up.
	slowLook = time.Second
	// windowPatience is how long a program may take to show a window, on a slow machine too. What
	// it is less than the usual time of a question is left for the next program.
	windowPatience = 20 * time.Second
)

// A watcher ends programs that show nothing.
type watcher struct {
	patience time.Duration
	log      *slog.Logger
}

// watch returns a context for a dialog program that is about to be started with this
// environment. It ends with errUnseen as its cause when the program has no window after the
// watcher's patience. Only X tells that, and only of the toolkits that were not told to draw
// somewhere else; in doubt, the question stays. The caller must call end.
func (w watcher) watch(ctx context.Context, environ []string) (watched context.Context, end func()) {
	watched, cancel := context.WithCancelCause(ctx)
	getenv := prompt.Getenv(environ)
	backend, platform := getenv("GDK_BACKEND"), getenv("QT_QPA_PLATFORM")
	if w.patience == 0 || getenv("WAYLAND_DISPLAY") != "" || backend != "" && backend != "x11" || platform != "" && platform != "xcb" {
		return watched, func() { cancel(nil) }
	}
	limited, stop := context.WithTimeout(ctx, lookLimit)
	defer stop()
	display, err := x11.Observe(limited, getenv("DISPLAY"), getenv("XAUTHORITY"))
	if err != nil {
		w.log.Debug("windows of dialogs cannot be watched", "error", err)
		return watched, func() { cancel(nil) }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer display.Close()
		if err := w.await(watched, display); errors.Is(err, errUnseen) {
			cancel(err)
		} else if err != nil && watched.Err() == nil {
			w.log.Debug("the window of a dialog cannot be watched", "error", err)
		}
	}()
	return watched, func() { cancel(nil); <-done }
}

// await returns nil when there is a window, and errUnseen when there is none for too long.
func (w watcher) await(ctx context.Context, display *x11.Watch) error {
	ticker := time.NewTicker(min(lookAgain, w.patience))
	defer ticker.Stop()
	for started := time.Now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		looked := time.Now()
		limited, stop := context.WithTimeout(ctx, lookLimit)
		seen, err := display.Seen(limited)
		stop()
		switch {
		case seen, err != nil:
			return err
		case time.Since(looked) >= slowLook:
			started = time.Now() // what held us up held the program up, too
		case looked.Sub(started) >= w.patience:
			return errUnseen
		}
	}
}
