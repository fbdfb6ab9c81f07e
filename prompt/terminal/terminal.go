// Package terminal asks on the controlling terminal or console. Only this package knows
// terminals.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A TTY is a terminal that is opened for one prompt.
type TTY interface {
	// Write puts text on the screen. It gives up when the screen is stopped
	// (ctrl-s) for longer than a second.
	io.Writer
	// ReadLine reads a line without its end, shown while it is typed or not. It first drops
	// earlier input, which was not meant for this question, and calls ask to write the
	// question when the terminal is ready. It returns ErrDenied on ctrl-c and io.EOF on
	// ctrl-d in an empty line, both with the cursor at the start of the next line. When ctx
	// ended, it drops the line so far, so that no shell runs it, and returns ctx.Err(). An
	// error of ask is returned as it is. The terminal has its old modes again on every
	// return.
	ReadLine(ctx context.Context, shown bool, ask func() error) (string, error)
	// Close gives the terminal back.
	Close() error
}

// A measuredTTY knows its size. It shows the colours and characters of a QR code.
type measuredTTY interface {
	Size() (columns, rows int) // 0 where it does not say
}

// A Config says how a [Prompter] reaches its screen.
type Config struct {
	// Open opens the terminal for one prompt; nil means Open. It returns an error
	// wrapping ErrUnavailable when the terminal cannot be used now.
	Open func() (TTY, error)
	// Getenv finds NO_COLOR, TERM and the character set; nil means os.Getenv.
	Getenv func(string) string
	Now    func() time.Time // nil means time.Now
}

// A Prompter asks on the controlling terminal, never on standard input or
// output: those may belong to a command. It asks one question at a time; push
// notices come between the lines.
type Prompter struct {
	open  func() (TTY, error)
	now   func() time.Time
	style layout
	draw  bool // the screen has half blocks and colours

	keyboard chan struct{} // holds one element while a question has it

	mu       sync.Mutex // guards what follows and keeps writes whole; no read under it
	question string     // the line that waits for an answer, "" when none does
	denied   time.Time  // when a question was last denied by ctrl-c; zero for never

	held heldLines
}

var _ prompt.Prompter = (*Prompter)(nil)

// New returns a prompter for the terminal that c opens.
func New(c Config) *Prompter {
	if c.Open == nil {
		c.Open = Open
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	term := c.Getenv("TERM")
	capable := term != "" && term != "dumb"
	draws := capable && prompt.HasUTF8(c.Getenv)
	return &Prompter{
		open:     c.Open,
		now:      c.Now,
		style:    layout{framed: draws, colour: capable && c.Getenv("NO_COLOR") == ""},
		draw:     draws,
		keyboard: make(chan struct{}, 1),
		held:     heldLines{lock: make(chan struct{}, 1)},
	}
}

// Prompt implements [prompt.Prompter]. Ctrl-d in an empty line means "not here" and
// gives ErrUnavailable: other prompters stay.
func (t *Prompter) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	shown := r.Sanitized() // stepup attach gets it from a socket, not from the broker
	if r.Kind == prompt.Push {
		return "", t.tell(ctx, shown)
	}
	select {
	case t.keyboard <- struct{}{}:
		defer func() { <-t.keyboard }()
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
	release, err := t.hold(ctx, tty)
	if err != nil {
		return "", err
	}
	defer release()
	answer, err := t.ask(ctx, tty, shown)
	if err != nil {
		err = t.closeQuestion(ctx, tty, err)
	}
	if r.Enrolment != nil {
		_ = t.write(tty, "  Clear this screen: the secret is still on it\n", "")
	}
	if err != nil {
		return "", err
	}
	return r.ChoiceAsGiven(answer), nil
}

// ask writes the block and reads until there is an answer that fits.
func (t *Prompter) ask(ctx context.Context, tty TTY, r prompt.Request) (string, error) {
	if err := t.write(tty, t.block(tty, r), ""); err != nil {
		return "", err
	}
	defer t.follow(ctx, tty, r)()
	for {
		line, err := t.readLine(ctx, tty, r.Kind != prompt.Password, question(r, t.now()))
		if err != nil {
			return "", err
		}
		if yes, _, fits := prompt.CutKeep(r, line); r.Kind == prompt.Confirm && fits && !isYes(yes) {
			return "", prompt.ErrDenied // the capital N is the default
		}
		answer, err := prompt.Check(r, line)
		switch {
		case err == nil && r.TakesCode():
			return t.askCode(ctx, tty, r, answer)
		case !errors.Is(err, prompt.ErrAnswer):
			return answer, err
		}
		if err := t.write(tty, "  "+prompt.Capitalize(r.RetryNote(line))+": type it again, or ctrl-c to deny\n", ""); err != nil {
			return "", err
		}
	}
}

// block is what stands above the question of r on the screen as it is now.
func (t *Prompter) block(tty TTY, r prompt.Request) string {
	return "\n" + t.style.on(tty).block(render(r)) + t.enrolment(tty, r)
}

func (t *Prompter) readLine(ctx context.Context, tty TTY, shown bool, question string) (string, error) {
	line, err := tty.ReadLine(ctx, shown, func() error { return t.write(tty, "", question) })
	t.setQuestion("")
	return line, err
}

// askCode reads the code that may come with a password, and returns both.
func (t *Prompter) askCode(ctx context.Context, tty TTY, r prompt.Request, password string) (string, error) {
	for {
		line, err := t.readLine(ctx, tty, true, codeQuestion(r, t.now()))
		if err != nil {
			return "", err
		}
		answer, err := prompt.Check(r, password+"\n"+line)
		if !errors.Is(err, prompt.ErrAnswer) {
			return answer, err
		}
		code := r
		code.Kind = prompt.Passcode
		if err := t.write(tty, "  "+prompt.Capitalize(code.RetryNote(line))+": type it again, or nothing to be asked later\n", ""); err != nil {
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

// closeQuestion writes the end of the question on the screen and returns the error of
// the prompt.
func (t *Prompter) closeQuestion(ctx context.Context, tty TTY, err error) error {
	switch {
	case ctx.Err() != nil:
		_ = t.write(tty, "\n  "+prompt.Capitalize(prompt.Withdrawn(context.Cause(ctx)))+"\n", "")
		return ctx.Err()
	case errors.Is(err, prompt.ErrDenied):
		t.mu.Lock()
		t.denied = t.now()
		t.mu.Unlock()
		_ = t.write(tty, "  Denied\n", "")
		return prompt.ErrDenied
	case errors.Is(err, io.EOF):
		_ = t.write(tty, "  Not answered here\n", "")
		return fmt.Errorf("%w: dismissed at the terminal", prompt.ErrUnavailable)
	}
	return fmt.Errorf("%w: terminal: %w", prompt.ErrUnavailable, err)
}

// tell shows a push until ctx ends, and then its decision.
func (t *Prompter) tell(ctx context.Context, r prompt.Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.announce(func(l layout) string { return "\n" + l.block(render(r)) + l.question(question(r, t.now())) }); err != nil {
		return err
	}
	<-ctx.Done()
	end := "stepup: " + r.Action() + ": " + prompt.Withdrawn(context.Cause(ctx))
	_ = t.announce(func(l layout) string { return strings.Join(wrap(end, l.columns, inset), "\n") + "\n" })
	return ctx.Err()
}

// announce writes text on a terminal of its own, above the open question.
func (t *Prompter) announce(text func(layout) string) error {
	tty, err := t.open()
	if err != nil {
		return err
	}
	defer tty.Close()
	return t.write(tty, text(t.style.on(tty)), "")
}

// write puts text on the screen, and behind it the question that is then open:
// the given one, or again the one that was open before.
func (t *Prompter) write(tty TTY, text, question string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.question != "" && text != "" {
		text = "\n" + text
	}
	if question != "" {
		t.question = question
	}
	if t.question != "" {
		text += t.style.on(tty).question(t.question)
	}
	if _, err := io.WriteString(tty, text); err != nil {
		return fmt.Errorf("%w: %w", prompt.ErrUnavailable, err)
	}
	return nil
}

func (t *Prompter) setQuestion(q string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.question = q
}

// resizeDelay is how long the size of a window must be left alone before a question is written
// anew: a person who pulls at its corner makes a hundred sizes.
const resizeDelay = 150 * time.Millisecond

// follow writes the block of the open question, and the question, again when the window has
// another width in which they look otherwise, and says when another question begins to wait.
// The returned function ends that.
func (t *Prompter) follow(ctx context.Context, tty TTY, r prompt.Request) (end func()) {
	resized, updates, ended := make(chan os.Signal, 1), prompt.Updates(ctx), make(chan struct{})
	stop := func() {}
	if _, ok := tty.(measuredTTY); ok {
		stop = notifyResize(resized)
	}
	shown := t.block(tty, r)
	var following sync.WaitGroup
	following.Go(func() {
		delay := time.NewTimer(time.Hour)
		defer delay.Stop()
		for {
			select {
			case <-ended:
				return
			case queued := <-updates:
				same, more := t.block(tty, r) == shown, queued > r.Queued
				if r.Queued = queued; same {
					shown = t.block(tty, r)
				}
				if more {
					_ = t.write(tty, t.style.on(tty).edge("  "+r.QueuedNote(), "│", false)+"\n", "")
				}
			case <-resized:
				delay.Reset(resizeDelay)
			case <-delay.C:
				if now := t.block(tty, r); now != shown {
					shown = now
					_ = t.write(tty, now, "") // what fails is seen by the reader of the line
				}
			}
		}
	})
	return func() {
		stop()
		close(ended)
		following.Wait()
	}
}
