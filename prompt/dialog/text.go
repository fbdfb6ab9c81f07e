package dialog

import (
	"fmt"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// Limits of a dialog in characters: some programs make the window as wide as the text,
// and a stranger can give us a long one.
const (
	dialogColumns = 64
	maxLine       = 200 // of one line that a stranger has a part in

	// The buttons stand below the text, and a screen may have 720 rows of pixels: what is
	// longer would push them over its edge, with the field.
	maxLines        = 26
	maxPictureLines = 16 // above a QR code
)

// A dialogText is the text of one dialog. Every string in it came through the
// sanitiser.
type dialogText struct {
	request prompt.Request // sanitised
	again   bool           // the answer did not fit: the same question, once more
	seconds int            // until the deadline; 0 when there is none
	detail  int            // room for one line of the details, in bytes
}

func newDialogText(r prompt.Request, now time.Time) dialogText {
	r = r.Sanitized()
	r.Requester.Exe = r.Requester.ShortExe(prompt.MaxName, maxLine)
	t := dialogText{request: r, detail: maxLine}
	if left := r.Deadline.Sub(now); !r.Deadline.IsZero() && left > 0 {
		t.seconds = int((left + time.Second - 1) / time.Second)
	}
	return t.bounded()
}

// bounded is t with as many lines as a window has room for. What tells least is shortened
// first: a stranger who makes names long must not hide what a person decides by.
func (t dialogText) bounded() dialogText {
	full := t.request
	for _, room := range []struct{ detail, decisive int }{{64, 256}, {48, 256}, {48, 200}, {48, 150}, {40, 120}, {40, 100}, {40, 80}, {32, 60}} {
		if t.fits() {
			break
		}
		t.request, t.detail = full.Shortened(room.detail, room.decisive), room.detail
	}
	return t
}

func (t dialogText) fits() bool {
	if t.request.Enrolment != nil && countLines(t.pictureText()) > maxPictureLines {
		return false
	}
	return countLines(t.text(false)) <= maxLines
}

func countLines(text string) int { return strings.Count(text, "\n") + 1 }

// pictureText is what a window says above a QR code.
func (t dialogText) pictureText() string { return joinBlocks(t.facts(), t.problem(), nextTitle) }

// windowSeconds is how long the program keeps its window open by itself; 0 when there is
// no deadline. It is for the case that we are killed: else the window would stay for ever.
func (t dialogText) windowSeconds() int {
	if t.seconds <= 0 {
		return 0
	}
	return t.seconds + 2
}

// text is everything that the dialog says, in lines. canDeny reports that the dialog
// has a button for a no.
func (t dialogText) text(canDeny bool) string {
	return joinBlocks(t.facts(), t.problem(), t.instructions(canDeny))
}

// joinBlocks joins the blocks that are not empty, with an empty line between them.
func joinBlocks(blocks ...string) string {
	var kept []string
	for _, b := range blocks {
		if b != "" {
			kept = append(kept, b)
		}
	}
	return strings.Join(kept, "\n\n")
}

// markup is a text for programs that take tags, with its first paragraph in bold. A stranger's
// tag or entity stays text: all of it is escaped, though the sanitiser has left nothing that
// would need it. A heading that names of strangers have made long is not bold: kdialog would
// break its lines again, and scroll.
func markup(text string) string {
	const boldLines = 2
	heading, rest, _ := strings.Cut(prompt.EscapeMarkup(text), "\n\n")
	if countLines(heading) > boldLines {
		return heading + "\n\n" + rest
	}
	return "<b>" + heading + "</b>\n\n" + rest
}

// facts are the requester, its action, and the place.
func (t dialogText) facts() string {
	r, context := t.request, make([]string, 0, 6)
	for _, fact := range append(r.Facts(), r.Claims()...) {
		context = append(context, fold(prompt.Sanitize(fact, len("May be (a guess): ")+t.detail)))
	}
	return joinBlocks(fold(r.Sentence()), fold(r.Allowed()), strings.Join(context, "\n"))
}

// problem says why the person is asked again; "" the first time.
func (t dialogText) problem() string { return fold(t.request.Problem()) }

// instructions say how to answer, and how long there is time for it.
func (t dialogText) instructions(canDeny bool) string {
	r := t.request
	lines := []string{fold(r.Label())}
	if keep := r.KeepNote(); r.Kind == prompt.Passcode && keep != "" {
		lines = append(lines, fold(keep))
	}
	if waiting := r.QueuedNote(); waiting != "" {
		lines = append(lines, waiting)
	}
	if t.seconds > 0 {
		lines = append(lines, fmt.Sprintf("This window closes after %d s", t.seconds))
	}
	if id := prompt.Sanitize(r.ID, prompt.MaxName); !canDeny && id != "" {
		lines = append(lines, "To deny: stepup deny "+id)
	}
	return strings.Join(lines, "\n")
}

// goLabel names the button that is the way forward.
func (t dialogText) goLabel() string {
	switch t.request.Kind {
	case prompt.Passcode, prompt.Password:
		return prompt.LabelSend
	case prompt.Choose:
		return prompt.LabelContinue
	case prompt.Push:
		return prompt.LabelOK
	}
	return prompt.LabelAllow
}

// Words of the windows that show a new secret.
const (
	typeTitle = "or type this secret into it:"
	nextTitle = "The next window asks for the first code"
)

// seedText is the secret for windows that take it as text; "" for other questions.
func (t dialogText) seedText() string {
	if t.request.Enrolment == nil {
		return ""
	}
	return prompt.TypeSecret + ":\n" + t.typedText()
}

// typedText is the secret, to be typed.
func (t dialogText) typedText() string {
	lines := t.request.Enrolment.Lines(prompt.GroupsPerLine)
	for i, line := range lines {
		lines[i] = fold(line)
	}
	return strings.Join(lines, "\n")
}

// denyChoice stands below the choices where there is no button for a no.
const denyChoice = "Deny this request"

// inset stands before the continuation of a line.
const inset = "    "

// fold breaks a line where it gets too wide: at a blank, else behind a slash, else
// anywhere. The continuation is set in: a stranger must not be able to begin a line.
func fold(line string) string {
	var b strings.Builder
	for width := dialogColumns; len(line) > width; width = dialogColumns - len(inset) {
		end := strings.LastIndexByte(line[:width], ' ')
		if end < width/2 {
			end = strings.LastIndexByte(line[:width-1], '/') + 1
		}
		if end < width/2 {
			end = width
		}
		b.WriteString(strings.TrimRight(line[:end], " ") + "\n" + inset)
		line = strings.TrimLeft(line[end:], " ")
	}
	return b.String() + line
}
