package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A Tty is a terminal that is opened for one prompt.
type Tty interface {
	// Write puts text on the screen. It gives up when the screen is stopped
	// (ctrl-s) for longer than a second.
	io.Writer
	// ReadLine reads a line without its end, shown while it is typed or not.
	// When the terminal is ready for it, and what was typed before is dropped (it
	// was not meant for this question), ask puts the question up. ReadLine returns ErrDenied on
	// ctrl-c and io.EOF on ctrl-d in an empty line, as after a line with the cursor at
	// the start of the next; ctx.Err() when ctx ended, in which case what
	// was typed so far is dropped, so that no shell runs it; an error of ask as it
	// is. The terminal has its old modes again on every return.
	ReadLine(ctx context.Context, shown bool, ask func() error) (string, error)
	// Close gives the terminal back.
	Close() error
}

// A measuredTty knows its size, and shows the colours and characters that a QR code
// is drawn with.
type measuredTty interface {
	Size() (columns, rows int) // 0 where it does not say
}

// A TerminalConfig says how a [Terminal] reaches its screen.
type TerminalConfig struct {
	// Open opens the terminal for one prompt; nil means OpenTTY. It returns an error
	// wrapping ErrUnavailable when nobody can be asked there now.
	Open func() (Tty, error)
	// Getenv finds NO_COLOR, TERM and the character set; nil means os.Getenv.
	Getenv func(string) string
	Now    func() time.Time // nil means time.Now
}

// A Terminal asks on the controlling terminal, never on standard input or
// output: those may belong to a command. It asks one question at a time; push
// notices come between the lines.
type Terminal struct {
	open func() (Tty, error)
	now  func() time.Time
	bold bool
	draw bool // the screen has half blocks and colours

	turn chan struct{} // holds one element while a question has the keyboard

	mu       sync.Mutex // guards question and keeps what is written together; no read under it
	question string     // the line that waits for an answer, "" when none does
}

var _ Prompter = (*Terminal)(nil)

// NewTerminal returns a prompter for the terminal that c opens.
func NewTerminal(c TerminalConfig) *Terminal {
	if c.Open == nil {
		c.Open = OpenTTY
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	term := c.Getenv("TERM")
	return &Terminal{
		open: c.Open,
		now:  c.Now,
		bold: c.Getenv("NO_COLOR") == "" && term != "" && term != "dumb",
		draw: term != "" && term != "dumb" && hasUTF8([]string{"LC_ALL=" + c.Getenv("LC_ALL"), "LC_CTYPE=" + c.Getenv("LC_CTYPE"), "LANG=" + c.Getenv("LANG")}),
		turn: make(chan struct{}, 1),
	}
}

// Prompt implements [Prompter]. Ctrl-d in an empty line means "not here" and
// gives ErrUnavailable: other prompters stay.
func (t *Terminal) Prompt(ctx context.Context, r Request) (string, error) {
	shown := r.sanitized() // of our own accord: stepup attach gets it from a socket
	if r.Kind == Push {
		return "", t.tell(ctx, shown)
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return "", err // withdrawn before it was on the screen
	}
	tty, err := t.open()
	if err != nil {
		return "", err
	}
	defer tty.Close()
	answer, err := t.ask(ctx, tty, shown)
	if err != nil {
		err = t.leave(ctx, tty, err)
	}
	if r.Enrolment != nil {
		_ = t.write(tty, stillShown+"\n", "")
	}
	if err != nil {
		return "", err
	}
	for i, c := range shown.Choices {
		if r.Kind == Choose && c == answer {
			return r.Choices[i], nil
		}
	}
	return answer, nil
}

// ask writes the block and reads until there is an answer that fits.
func (t *Terminal) ask(ctx context.Context, tty Tty, r Request) (string, error) {
	block := "\n" + t.heading(Render(r))
	if r.Enrolment != nil {
		block += t.enrolment(tty, r)
	}
	if err := t.write(tty, block, ""); err != nil {
		return "", err
	}
	for {
		line, err := t.readLine(ctx, tty, r.Kind != Password, Question(r, t.now()))
		if err != nil {
			return "", err
		}
		if r.Kind == Confirm && !isYes(line) {
			return "", ErrDenied // the capital N is the default
		}
		answer, err := Check(r, line)
		switch {
		case err == nil && r.takesCode():
			return t.askCode(ctx, tty, r, answer)
		case !errors.Is(err, ErrAnswer):
			return answer, err
		}
		if err := t.write(tty, misfit(r)+"\n", ""); err != nil {
			return "", err
		}
	}
}

// readLine reads one line behind a question.
func (t *Terminal) readLine(ctx context.Context, tty Tty, shown bool, question string) (string, error) {
	line, err := tty.ReadLine(ctx, shown, func() error { return t.write(tty, "", question) })
	t.setQuestion("")
	return line, err
}

// askCode reads the code that may come with a password, and gives both.
func (t *Terminal) askCode(ctx context.Context, tty Tty, r Request, password string) (string, error) {
	for {
		line, err := t.readLine(ctx, tty, true, codeQuestion(r, t.now()))
		if err != nil {
			return "", err
		}
		answer, err := Check(r, password+"\n"+line)
		if !errors.Is(err, ErrAnswer) {
			return answer, err
		}
		if err := t.write(tty, misfitCode+"\n", ""); err != nil {
			return "", err
		}
	}
}

func isYes(line string) bool {
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true
	}
	return false
}

// leave closes the question on the screen and says what the prompt returns.
func (t *Terminal) leave(ctx context.Context, tty Tty, err error) error {
	switch {
	case ctx.Err() != nil:
		_ = t.write(tty, "\n  "+Withdrawn(context.Cause(ctx))+"\n", "")
		return ctx.Err()
	case errors.Is(err, ErrDenied):
		_ = t.write(tty, deniedWords+"\n", "")
		return ErrDenied
	case errors.Is(err, io.EOF):
		_ = t.write(tty, dismissedWords+"\n", "")
		return fmt.Errorf("%w: dismissed at the terminal", ErrUnavailable)
	}
	return fmt.Errorf("%w: terminal: %w", ErrUnavailable, err)
}

// tell shows a push until ctx ends, and then how it was decided.
func (t *Terminal) tell(ctx context.Context, r Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.announce("\n" + t.heading(Render(r)) + Question(r, t.now())); err != nil {
		return err
	}
	<-ctx.Done()
	_ = t.announce("stepup: " + what(r) + ": " + Withdrawn(context.Cause(ctx)) + "\n")
	return ctx.Err()
}

// announce writes text on a terminal of its own, above the open question.
func (t *Terminal) announce(text string) error {
	tty, err := t.open()
	if err != nil {
		return err
	}
	defer tty.Close()
	return t.write(tty, text, "")
}

// write puts text on the screen, and behind it the question that is then open:
// the given one, or again the one that was open before.
func (t *Terminal) write(tty Tty, text, question string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.question != "" && text != "" {
		text = "\n" + text
	}
	if question != "" {
		t.question = question
	}
	if _, err := io.WriteString(tty, text+t.question); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (t *Terminal) setQuestion(q string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.question = q
}

// heading makes the first line of a block stand out.
func (t *Terminal) heading(block string) string {
	if !t.bold {
		return block
	}
	first, rest, _ := strings.Cut(block, "\n")
	return "\x1b[1m" + first + "\x1b[0m\n" + rest
}
