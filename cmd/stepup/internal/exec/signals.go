package exec

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
)

// A signalForwarder keeps signals from ending us before the command has ended, and hands
// them to it. Until there is a command, a signal ends the preparations.
type signalForwarder struct {
	caught chan os.Signal
	quit   chan struct{}
	done   chan struct{}
	abort  context.CancelCauseFunc

	mu      sync.Mutex // guards what follows; held while the command starts
	started bool
	process *os.Process // nil before the start and after the end
}

// interrupted is a signal that came before the command was started.
type interrupted struct{ os.Signal }

func (i interrupted) Error() string { return fmt.Sprintf("interrupted by %v", i.Signal) }

// newSignalForwarder catches signals until stop. The context ends with a signal that
// comes before the command is started.
func newSignalForwarder(ctx context.Context) (*signalForwarder, context.Context) {
	ctx, abort := context.WithCancelCause(ctx)
	c := &signalForwarder{caught: make(chan os.Signal, 16), quit: make(chan struct{}), done: make(chan struct{}), abort: abort}
	for _, s := range caughtSignals() {
		// One that is ignored (nohup, a job of a script) is so for the command, too.
		if !signal.Ignored(s) {
			signal.Notify(c.caught, s)
		}
	}
	go c.work()
	return c, ctx
}

func (c *signalForwarder) work() {
	defer close(c.done)
	for {
		select {
		case <-c.quit:
			return
		case s := <-c.caught:
			c.deliver(s)
		}
	}
}

func (c *signalForwarder) deliver(s os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.started:
		c.abort(interrupted{s})
	case c.process != nil && !typed(s):
		_ = c.process.Signal(s) // fails where it has ended
	}
}

// start starts the command; from then on signals are its own.
func (c *signalForwarder) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.process, c.started = cmd.Process, true
	// Not before: what is ignored is inherited.
	ignoreBackground()
	return nil
}

// child is the number of the command's process, 0 when there is none.
func (c *signalForwarder) child() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.Pid
}

// ended forgets the command: its number may belong to another process now.
func (c *signalForwarder) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process = nil
}

func (c *signalForwarder) stop() {
	signal.Stop(c.caught)
	close(c.quit)
	<-c.done
	c.abort(nil)
}
