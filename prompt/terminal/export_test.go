package terminal

import (
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// Block is what stands on the screen for a request.
func Block(r prompt.Request, now time.Time) string { return render(r) + question(r, now) }

// Wrap is wrap.
func Wrap(line string, columns int, inset string) []string { return wrap(line, columns, inset) }

// A Screen is what a layout knows of it.
type Screen struct {
	Columns        int
	Framed, Colour bool
}

// Layout is a block and its question on a screen.
func Layout(r prompt.Request, now time.Time, s Screen) string {
	l := layout{columns: s.Columns, framed: s.Framed, colour: s.Colour}
	return l.block(render(r)) + l.question(question(r, now))
}
