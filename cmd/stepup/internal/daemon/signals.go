package daemon

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// secondPress is how long a ctrl-c counts as one for the question that the first one denied.
const secondPress = 2 * time.Second

// untilSignal returns a context that ends at the first SIGINT or SIGTERM, or with stop. A SIGINT
// is passed over for which elsewhere reports that the person did not mean the agent. release
// ends the context, and gives the signals back.
func untilSignal(ctx context.Context, elsewhere func() bool) (_ context.Context, stop, release func()) {
	ctx, stop = context.WithCancel(ctx)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	released := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		for {
			select {
			case s := <-caught:
				if s == syscall.SIGTERM || !elsewhere() {
					stop()
				}
			case <-released:
				return
			}
		}
	})
	return ctx, stop, sync.OnceFunc(func() {
		stop()
		signal.Stop(caught)
		close(released)
		listening.Wait()
	})
}
