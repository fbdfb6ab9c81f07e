package prompt_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
)

// fakeTTY is a terminal without an operating system, for what a real one does
// not do on demand.
type fakeTTY struct {
	mu     sync.Mutex
	text   strings.Builder
	broken error
	line   func(ctx context.Context) (string, error)
	closed int
}

func (f *fakeTTY) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return 0, f.broken
	}
	return f.text.Write(p)
}

func (f *fakeTTY) ReadLine(ctx context.Context, _ bool, ask func() error) (string, error) {
	if err := ask(); err != nil {
		return "", err
	}
	return f.line(ctx)
}

func (f *fakeTTY) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fakeTTY) terminal() *prompt.Terminal {
	return prompt.NewTerminal(prompt.TerminalConfig{
		Open:   func() (prompt.Tty, error) { return f, nil },
		Getenv: func(string) string { return "" },
	})
}

func TestTerminalTrouble(t *testing.T) {
	t.Parallel()
	trouble := errors.New("trouble")
	for _, c := range []struct {
		name string
		tty  *fakeTTY
		err  error
	}{
		{"screen is stopped", &fakeTTY{broken: trouble}, prompt.ErrUnavailable},
		{"keyboard is gone", &fakeTTY{line: func(context.Context) (string, error) { return "", trouble }}, prompt.ErrUnavailable},
		{"hang-up", &fakeTTY{line: func(context.Context) (string, error) { return "", io.EOF }}, prompt.ErrUnavailable},
		{"denied", &fakeTTY{line: func(context.Context) (string, error) { return "", prompt.ErrDenied }}, prompt.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, err := c.tty.terminal().Prompt(t.Context(), prompttest.Request(prompt.Passcode))
			if answer != "" || !errors.Is(err, c.err) || c.tty.closed != 1 {
				t.Errorf("Prompt = %q, %v; want %v; closed %d times", answer, err, c.err, c.tty.closed)
			}
		})
	}
}

// TestTerminalAsksInTurn: a second question waits for the keyboard, and may be
// withdrawn while it waits without a trace on the screen.
func TestTerminalAsksInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		enter := make(chan string)
		tty := &fakeTTY{line: func(ctx context.Context) (string, error) {
			select {
			case line := <-enter:
				return line, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}}
		p := tty.terminal()
		ask := func(ctx context.Context, rule string) <-chan error {
			out, r := make(chan error, 1), prompttest.Request(prompt.Passcode)
			r.Rule = rule
			go func() {
				_, err := p.Prompt(ctx, r)
				out <- err
			}()
			synctest.Wait()
			return out
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := ask(t.Context(), "first"), ask(ctx, "second")
		third := ask(t.Context(), "third")
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("second: %v", err)
		}
		for _, out := range []<-chan error{first, third} {
			enter <- "123456"
			if err := <-out; err != nil {
				t.Errorf("Prompt: %v", err)
			}
		}
		screen := tty.text.String()
		if strings.Contains(screen, "second") || strings.Index(screen, "first") > strings.Index(screen, "third") {
			t.Errorf("the screen shows\n%s", screen)
		}
	})
}
