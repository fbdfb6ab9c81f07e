package terminal

import (
	"bytes"
	"context"
	"io"
	"time"
)

// maxHeld is how much of a log a question holds back. A log that has more to say is shown.
const maxHeld = 64 << 10

// heldLines are what a log wrote while a question was open on its screen.
type heldLines struct {
	lock chan struct{} // holds one element while it is taken: waiting for it can be given up
	open int           // questions on the screen
	text bytes.Buffer
}

// LogWriter returns a writer for a log whose lines go to w, which is the screen of t. While a
// question is open they are held back, so that none lands between it and what is typed. Each
// Write is one or more whole lines.
func (t *Prompter) LogWriter(w io.Writer) io.Writer { return logWriter{t, w} }

type logWriter struct {
	t *Prompter
	w io.Writer
}

// Write implements io.Writer. It blocks as long as w does.
func (l logWriter) Write(p []byte) (int, error) {
	h := &l.t.held
	h.lock <- struct{}{}
	switch {
	case h.open > 0 && h.text.Len()+len(p) <= maxHeld:
		h.text.Write(p)
		<-h.lock
		return len(p), nil
	case h.open > 0:
		// Not under the lock: the question must end also where the screen is stopped.
		text := append([]byte("\n"), h.text.Bytes()...)
		h.text.Reset()
		<-h.lock
		_, err := l.w.Write(append(text, p...))
		return len(p), err
	}
	defer func() { <-h.lock }()
	if h.text.Len() > 0 { // the screen was stopped when the question ended
		text := append(bytes.Clone(h.text.Bytes()), p...)
		h.text.Reset()
		_, err := l.w.Write(text)
		return len(p), err
	}
	return l.w.Write(p)
}

// hold begins to hold lines back; the returned function writes them on tty and ends that. A
// write that w blocks is waited for until ctx ends.
func (t *Prompter) hold(ctx context.Context, tty TTY) (release func(), err error) {
	select {
	case t.held.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t.held.open++
	<-t.held.lock
	return func() {
		t.held.lock <- struct{}{}
		defer func() { <-t.held.lock }()
		if t.held.open--; t.held.open > 0 || t.held.text.Len() == 0 {
			return
		}
		if n, _ := tty.Write(t.held.text.Bytes()); n > 0 {
			t.held.text.Next(n) // what a stopped screen does not take comes with the next line
		}
	}, nil
}

// JustDenied reports whether a question was denied by ctrl-c within d. A person who presses it
// twice means the question, which took the first one: not the program that asked.
func (t *Prompter) JustDenied(d time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.denied.IsZero() && t.now().Sub(t.denied) < d
}
