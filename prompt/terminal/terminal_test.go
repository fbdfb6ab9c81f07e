package terminal_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pquerna/otp"

	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/prompttest"
	"github.com/vault-stepup/stepup/prompt/terminal"
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

func (f *fakeTTY) terminal() *terminal.Prompter {
	return terminal.New(terminal.Config{
		Open:   func() (terminal.TTY, error) { return f, nil },
		Getenv: func(string) string { return "" },
	})
}

func TestTerminalFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		tty  *fakeTTY
		err  error
	}{
		{"screen is stopped", &fakeTTY{broken: broken}, prompt.ErrUnavailable},
		{"keyboard is gone", &fakeTTY{line: func(context.Context) (string, error) { return "", broken }}, prompt.ErrUnavailable},
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

// lineOf is a person who types one line.
func lineOf(text string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return text, nil }
}

// The law: whatever names Vault sends, the code holds this secret and no other
// parameter of theirs, and a terminal gets nothing but plain text and the code.
func FuzzEnrolment(f *testing.F) {
	f.Add("Vault", "0d6c2f0e", prompttest.Seed)
	f.Add("a&secret=B", "\x1b[2J?secret=AAAA", "jbsw\n\x1b]0;x\a")
	f.Add(prompttest.Hostile()[:100], "", "")
	f.Add(" ", "a:b", "")
	f.Fuzz(func(t *testing.T, issuer, account, seed string) {
		e := &prompt.Enrolment{Secret: secret.Secret(seed), Issuer: issuer, Account: account, Algorithm: issuer, Digits: 6, Period: 30}
		uri := prompt.Request{Enrolment: e}.Sanitized().Enrolment.URI().Reveal()
		key, err := otp.NewKeyFromURL(uri)
		if err != nil {
			t.Fatalf("%q: %v", uri, err)
		}
		clean := strings.Map(func(c rune) rune {
			if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", c) {
				return c
			}
			return -1
		}, seed)
		if got := key.Secret(); got != clean[:min(len(clean), 128)] || key.Issuer() != strings.ReplaceAll(prompt.Sanitize(issuer, 64), ":", "-") {
			t.Errorf("secret %q, issuer %q in %q", got, key.Issuer(), uri)
		}
		r := prompttest.Request(prompt.Passcode)
		r.Enrolment = e
		tty := &fakeTTY{line: lineOf("123456")}
		if _, err := tty.terminal().Prompt(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		text := tty.text.String()
		if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && (c < ' ' || c > '~') }); i >= 0 {
			t.Errorf("%q reaches the screen", text[i:])
		}
		if lines := strings.Count(text, "\n"); lines > 16 {
			t.Errorf("%d lines: a stranger can add lines\n%s", lines, text)
		}
	})
}
