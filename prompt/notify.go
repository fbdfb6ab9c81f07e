package prompt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// A Teller is a prompter that may find out, when it puts a question up, that the
// person cannot answer there: what it shows has no field and no button for it. It
// is worth showing all the same, but it does not count as a way to ask.
type Teller interface {
	// PromptOrTell is Prompt. It calls told when the question is in front of the
	// person and no answer to it can come from here: at most once, from the calling
	// goroutine, never for a Push, which takes no answer anyway. It then goes on as Prompt
	// does, until ctx ends or the person denies or closes what is shown. A question
	// whose prompters have all returned or called told cannot be answered.
	PromptOrTell(ctx context.Context, r Request, told func()) (answer string, err error)
}

// A NotifierConfig says how a [Notifier] reaches the desktop.
type NotifierConfig struct {
	// Session says where the session bus of the person who is to answer is looked for;
	// the zero value is this machine. Systems without D-Bus do not use it.
	Session SessionConfig
	// Send shows a notification that takes no answer; nil means what the system has: D-Bus
	// with buttons on Linux, a plain notification on macOS and Windows. Title and
	// body are fit to be shown; the body has several lines.
	Send func(title, body string) error
	// Limit is how long each step of showing may take before the desktop counts as
	// hung; 0 means 2 s, and 5 s where Send is used.
	Limit time.Duration
}

// A Notifier shows a request as a desktop notification: beside the dialogs, as a
// hint that can be denied. Where the desktop can do more, the
// person may also approve a Confirm or type a passcode into the notification.
// Each prompt reaches the desktop anew, so that one which was restarted is found again.
type Notifier struct {
	show  func(ctx context.Context, shown Request, told func()) (string, error)
	reach func(ctx context.Context) error // whether show could; nil is not known beforehand
}

var (
	_ Prompter = (*Notifier)(nil)
	_ Teller   = (*Notifier)(nil)
)

// NewNotifier returns a prompter for the notifications of this system.
func NewNotifier(c NotifierConfig) *Notifier {
	if c.Send != nil {
		return &Notifier{show: newPlainNotifier(c).show}
	}
	return &Notifier{show: systemNotifier(c), reach: systemReach(c)}
}

// Prompt implements [Prompter].
func (n *Notifier) Prompt(ctx context.Context, r Request) (string, error) {
	return n.PromptOrTell(ctx, r, func() {})
}

// PromptOrTell implements [Teller].
func (n *Notifier) PromptOrTell(ctx context.Context, r Request, told func()) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	answer, err := n.show(ctx, r.sanitized(), told)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil, errors.Is(err, ErrDenied), errors.Is(err, ErrDismissed):
		return answer, err
	}
	if errors.Is(err, ErrUnavailable) {
		return "", fmt.Errorf("notification: %w", err)
	}
	return "", fmt.Errorf("%w: notification: %w", ErrUnavailable, err)
}

// errHung: the desktop took longer than the limit.
var errHung = errors.New("the desktop does not answer")

// A plainNotifier shows notifications that nobody can answer, nor take back.
type plainNotifier struct {
	send  func(title, body string) error
	limit time.Duration
	turn  chan struct{} // holds one element while send runs
}

func newPlainNotifier(c NotifierConfig) *plainNotifier {
	return &plainNotifier{send: c.Send, limit: cmp.Or(c.Limit, 5*time.Second), turn: make(chan struct{}, 1)}
}

func (p *plainNotifier) show(ctx context.Context, r Request, told func()) (string, error) {
	limit := time.NewTimer(p.limit)
	defer limit.Stop()
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-limit.C:
		return "", errHung // by an earlier one: never more than one goroutine hangs
	}
	sent := make(chan error, 1)
	n := describe(r, reach{body: true})
	// Nothing can stop send; whoever asks must not hang with it.
	go func() {
		err := p.send(n.title, n.body)
		<-p.turn
		sent <- err
	}()
	select {
	case err := <-sent:
		if err != nil {
			return "", err
		}
	case <-ctx.Done():
		return "", ctx.Err()
	case <-limit.C:
		return "", errHung
	}
	if r.Kind != Push {
		told()
	}
	<-ctx.Done()
	return "", ctx.Err()
}
