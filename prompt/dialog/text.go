package dialog

import (
	"cmp"
	"fmt"
	"strconv"
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
	note    string         // why the same question comes again; "" the first time
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

// markup is the text in Pango's markup, under a number that is to be seen from afar.
func (t dialogText) markup() string {
	return `<span size="49152" weight="bold">` + t.request.Number + "</span>\n\n" + prompt.EscapeMarkup(t.text(true))
}

// facts are the requester, its action, and the place.
func (t dialogText) facts() string {
	r := t.request
	context := make([]string, 0, 6)
	add := func(label, value string) {
		if value != "" {
			context = append(context, fold(label+prompt.Sanitize(value, t.detail)))
		}
	}
	add("Vault: ", r.Vault)
	add("Namespace: ", r.Namespace)
	add("Rule: ", r.Rule)
	if len(r.Requester.Chain) > 1 {
		add("Started by: ", strings.Join(r.Requester.Chain[1:], ", "))
	}
	add("", capitalize(r.Requester.Orphan()))
	add("Calls itself: ", r.Requester.OtherName())
	add("May be ", r.Requester.Guess())
	allows := ""
	if r.Allows != "" {
		allows = fold("A yes allows " + r.Allows)
	}
	return joinBlocks(fold(t.asker()+" wants to "+r.Action()), allows, strings.Join(context, "\n"))
}

// asker is the requester at the beginning of a sentence. The name of a program stays as it is.
func (t dialogText) asker() string {
	name := t.request.Requester.Name()
	if t.request.Requester.Hidden || strings.HasPrefix(name, "an unknown program") {
		return capitalize(name)
	}
	return name
}

// capitalize makes words the beginning of a line.
func capitalize(words string) string {
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// problem says why the person is asked again; "" the first time.
func (t dialogText) problem() string {
	r := t.request
	message := cmp.Or(t.note, r.Message)
	switch {
	case r.Attempt <= 1 || t.note != "":
		return fold(capitalize(message))
	case message == "":
		message = "please try again"
	}
	return fold("Attempt " + ofAttempts(r) + ": " + message)
}

func ofAttempts(r prompt.Request) string {
	switch {
	case r.Attempts <= 0:
		return strconv.Itoa(r.Attempt)
	case r.Attempt >= r.Attempts:
		return fmt.Sprintf("%d of %d, the last one", r.Attempt, r.Attempts)
	}
	return fmt.Sprintf("%d of %d", r.Attempt, r.Attempts)
}

// instructions say how to answer, and how long there is time for it.
func (t dialogText) instructions(canDeny bool) string {
	r := t.request
	lines := []string{fold(t.label())}
	if keep := r.KeepNote("the code"); r.Kind == prompt.Passcode && keep != "" {
		lines = append(lines, fold(capitalize(keep)))
	}
	if waiting := r.QueuedNote(); waiting != "" {
		lines = append(lines, waiting)
	}
	if t.seconds > 0 {
		lines = append(lines, fmt.Sprintf("This window closes after %d s", t.seconds))
	}
	if id := prompt.Sanitize(r.ID, prompt.MaxName); !canDeny && id != "" {
		lines = append(lines, "To deny it, run: stepup deny "+id)
	}
	return strings.Join(lines, "\n")
}

func digits(n int) string {
	if n <= 0 {
		return ""
	}
	return " (" + strconv.Itoa(n) + " digits)"
}

// label names the wanted answer.
func (t dialogText) label() string {
	r := t.request
	switch r.Kind {
	case prompt.Passcode:
		of := ""
		if r.Enrolment != nil {
			of = " of the new secret"
		}
		return "Passcode" + of + r.ForMethod() + digits(r.Digits)
	case prompt.Password:
		return "Password" + r.ForMethod()
	case prompt.Choose:
		return "Choose how to confirm it"
	case prompt.Push:
		return "Tap " + r.Number + " on your phone" + r.MethodNote()
	}
	return "Allow it?"
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
	scanTitle = "Scan this with your authenticator"
	typeTitle = "or type this secret into it:"
	nextTitle = "The next window asks for the first code"
)

// seedText is the secret for windows that take it as text; "" for other questions.
func (t dialogText) seedText() string {
	if t.request.Enrolment == nil {
		return ""
	}
	return "Put this into your authenticator:\n" + t.typedText()
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

// retryNote says why an answer was not taken.
func retryNote(r prompt.Request) string {
	switch {
	case r.Kind == prompt.Choose:
		return "Nothing was chosen"
	case r.Kind == prompt.Passcode:
		return "That was no passcode"
	}
	return "That was no password"
}

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
