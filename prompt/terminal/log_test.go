package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A sheet is a terminal on which everything that is written comes one below the other. A line
// is typed by the test.
type sheet struct {
	mu    sync.Mutex
	text  bytes.Buffer
	typed chan error
}

func (s *sheet) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sheet) ReadLine(ctx context.Context, _ bool, ask func() error) (string, error) {
	if err := ask(); err != nil {
		return "", err
	}
	select {
	case err := <-s.typed:
		_, _ = io.WriteString(s, "\n")
		return "123456", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *sheet) Close() error { return nil }

func (s *sheet) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Lines of a log come before a question and behind it, never between it and what is typed;
// also behind one that went away without an answer.
func TestLogBesideAQuestion(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *sheet, withdraw context.CancelCauseFunc){
		"answered":  func(s *sheet, _ context.CancelCauseFunc) { s.typed <- nil },
		"denied":    func(s *sheet, _ context.CancelCauseFunc) { s.typed <- prompt.ErrDenied },
		"withdrawn": func(_ *sheet, withdraw context.CancelCauseFunc) { withdraw(prompt.ErrTimeout) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &sheet{typed: make(chan error)}
				p := terminal.New(terminal.Config{Open: func() (terminal.TTY, error) { return s, nil }, Getenv: func(string) string { return "" }})
				log := p.LogWriter(s)
				write := func(text string) {
					if n, err := io.WriteString(log, text); n != len(text) || err != nil {
						t.Errorf("Write = %d, %v", n, err)
					}
				}
				ctx, withdraw := context.WithCancelCause(t.Context())
				defer withdraw(nil)
				write("before\n")
				ended := make(chan error)
				go func() {
					_, err := p.Prompt(ctx, prompttest.Request(prompt.Passcode))
					ended <- err
				}()
				synctest.Wait()
				write("while it is open\n")
				open := s.shown()
				if !strings.HasPrefix(open, "before\n\nstepup: ") || !strings.HasSuffix(open, "deny): ") {
					t.Errorf("the screen has %q", open)
				}
				end(s, withdraw)
				err := <-ended
				write("behind\n")
				rest := strings.TrimPrefix(s.shown(), open)
				if !strings.HasSuffix(rest, "while it is open\nbehind\n") || !strings.HasPrefix(rest, "\n") {
					t.Errorf("then it has %q", rest)
				}
				// A second ctrl-c within two seconds is not for the agent.
				denied := errors.Is(err, prompt.ErrDenied)
				if diff := cmp.Diff([2]bool{denied, false}, [2]bool{p.JustDenied(2 * time.Second), p.JustDenied(0)}); diff != "" {
					t.Errorf("JustDenied (-want +got):\n%s", diff)
				}
				time.Sleep(2 * time.Second)
				if p.JustDenied(2 * time.Second) {
					t.Error("a denial counts for ever")
				}
			})
		})
	}
}

// A log that says a lot is not kept from the person for the whole question, and nothing of it
// is lost.
func TestLogOfManyLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sheet{typed: make(chan error)}
		p := terminal.New(terminal.Config{Open: func() (terminal.TTY, error) { return s, nil }, Getenv: func(string) string { return "" }})
		log := p.LogWriter(s)
		go func() { _, _ = p.Prompt(t.Context(), prompttest.Request(prompt.Passcode)) }()
		synctest.Wait()
		line := strings.Repeat("x", 99) + "\n"
		for range 1000 {
			_, _ = io.WriteString(log, line)
		}
		if n := strings.Count(s.shown(), line); n == 0 || n == 1000 {
			t.Errorf("%d lines are shown beside the question", n)
		}
		s.typed <- nil
		synctest.Wait()
		if n := strings.Count(s.shown(), line); n != 1000 {
			t.Errorf("%d lines, want all", n)
		}
	})
}
