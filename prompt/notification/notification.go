// Package notification shows a question as a desktop notification.
package notification

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// A Config says how a [Prompter] reaches the desktop.
type Config struct {
	// Bus finds the session bus of the person for a question of the requester, and
	// returns its address; its error wraps ErrUnavailable. Only Linux uses it, and must
	// have it.
	Bus func(context.Context, prompt.Requester) (address string, err error)
	// Send shows a notification that takes no answer. nil means that of the system: D-Bus
	// with buttons on Linux, a plain notification on macOS and Windows. Title and body are
	// fit to be shown; the body has several lines.
	Send func(title, body string) error
	// SendQuietly is Send for what needs no answer; nil means Send.
	SendQuietly func(title, body string) error
	// Limit is how long each step may take before the desktop counts as hung; 0 means
	// 2 s, and 5 s where Send is used.
	Limit time.Duration
}

// A Prompter shows a request as a desktop notification: beside the dialogs, as a
// hint that can be denied. Where the desktop can do more, the
// person may also approve a Confirm or type a passcode into the notification.
// Each prompt reaches the desktop anew, so that one which was restarted is found again.
type Prompter struct{ desktop desktop }

// A desktop shows notifications.
type desktop interface {
	// show is PromptOrNotify for a sanitised request.
	show(ctx context.Context, r prompt.Request, notified func()) (string, error)
	// check returns nil if show could, as far as can be known without showing one.
	check(ctx context.Context) error
}

var (
	_ prompt.Prompter = (*Prompter)(nil)
	_ prompt.Notifier = (*Prompter)(nil)
)

// New returns a prompter for the notifications of this system.
func New(c Config) *Prompter {
	if c.Send != nil {
		return &Prompter{newSender(c)}
	}
	return &Prompter{systemDesktop(c)}
}

// Prompt implements [prompt.Prompter].
func (n *Prompter) Prompt(ctx context.Context, r prompt.Request) (string, error) {
	return n.PromptOrNotify(ctx, r, func() {})
}

// ShowUse shows that a step-up token has served r, without a noise and not above all else. It
// blocks until the person closes that, ctx ends, or the person presses a button that the
// notification may have: lock reports that the step-up is to end. The error wraps
// ErrUnavailable where nothing could be shown.
func (n *Prompter) ShowUse(ctx context.Context, r prompt.Request) (lock bool, err error) {
	r.Kind = used
	answer, err := n.Prompt(ctx, r)
	if errors.Is(err, prompt.ErrDismissed) {
		err = nil
	}
	return answer == lockAnswer, err
}

// used is the kind of a notification that tells of a use. It is no question.
const used prompt.Kind = "used"

// lockAnswer is what its button returns.
const lockAnswer = "lock"

// PromptOrNotify implements [prompt.Notifier].
func (n *Prompter) PromptOrNotify(ctx context.Context, r prompt.Request, notified func()) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	answer, err := n.desktop.show(ctx, r.Sanitized(), notified)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil, errors.Is(err, prompt.ErrDenied), errors.Is(err, prompt.ErrDismissed), errors.Is(err, prompt.ErrReopened):
		return answer, err
	}
	if errors.Is(err, prompt.ErrUnavailable) {
		return "", fmt.Errorf("notification: %w", err)
	}
	return "", fmt.Errorf("%w: notification: %w", prompt.ErrUnavailable, err)
}

// errHung: the desktop took longer than the limit.
var errHung = errors.New("the desktop does not answer")

// A sender shows notifications that can be neither answered nor taken back.
type sender struct {
	send    func(title, body string) error
	quietly func(title, body string) error
	limit   time.Duration
	sending chan struct{} // holds one element while send runs
}

func newSender(c Config) *sender {
	s := &sender{send: c.Send, quietly: c.SendQuietly, limit: cmp.Or(c.Limit, 5*time.Second), sending: make(chan struct{}, 1)}
	if s.quietly == nil {
		s.quietly = c.Send
	}
	return s
}

func (p *sender) show(ctx context.Context, r prompt.Request, notified func()) (string, error) {
	limit := time.NewTimer(p.limit)
	defer limit.Stop()
	select {
	case p.sending <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-limit.C:
		return "", errHung // by an earlier one: never more than one goroutine hangs
	}
	done := make(chan error, 1)
	n, send := describe(r, capabilities{body: true}), p.send
	if r.Kind == used {
		send = p.quietly
	}
	// Nothing can stop send, and the broker must not hang with it.
	go func() {
		err := send(n.title, n.body)
		<-p.sending
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return "", err
		}
	case <-ctx.Done():
		return "", ctx.Err()
	case <-limit.C:
		return "", errHung
	}
	if r.Kind != prompt.Push {
		notified()
	}
	<-ctx.Done()
	return "", ctx.Err()
}

// check returns nil: only showing a notification would tell.
func (p *sender) check(context.Context) error { return nil }

// Available returns nil when a notification could be shown now to the person of this
// process, as far as can be known without showing one. Where the session can start a
// notification server, it does.
func (n *Prompter) Available(ctx context.Context) error {
	err := n.desktop.check(ctx)
	if err != nil && !errors.Is(err, prompt.ErrUnavailable) {
		return fmt.Errorf("%w: %w", prompt.ErrUnavailable, err)
	}
	return err
}
