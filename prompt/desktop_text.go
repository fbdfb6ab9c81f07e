package prompt

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What a dialog may be wide and long, in characters and lines: some programs
// make the window as wide as the text, and a stranger can give us a long one.
const (
	dialogColumns = 64
	maxDialogName = 64
	maxDialogText = 200 // of one line that a stranger has a part in
)

// A sheet is what one dialog shows. Every string in it came through the
// sanitiser.
type sheet struct {
	request Request // sanitised
	note    string  // why the same question comes again; "" the first time
	seconds int     // until the deadline; 0 when there is none
	both    bool    // the window has a field for the code beside that for the password
}

func newSheet(r Request, now time.Time) sheet {
	r = r.sanitized()
	r.Requester.Exe = Sanitize(r.Requester.Exe[strings.LastIndexByte(r.Requester.Exe, '/')+1:], maxDialogName)
	s := sheet{request: r}
	if left := r.Deadline.Sub(now); !r.Deadline.IsZero() && left > 0 {
		s.seconds = int((left + time.Second - 1) / time.Second)
	}
	return s
}

// title is the text of the window's frame.
func (s sheet) title() string { return title(s.request) }

// text is everything that the dialog says, in lines. canDeny tells whether the
// dialog has a button for a no.
func (s sheet) text(canDeny bool) string {
	return joinBlocks(s.facts(), s.trouble(), s.wish(canDeny))
}

// joinBlocks puts an empty line between those that are not empty.
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
func (s sheet) markup() string {
	return `<span size="49152" weight="bold">` + s.request.Number + "</span>\n\n" + escapeMarkup(s.text(true))
}

// facts say who wants what, and where.
func (s sheet) facts() string {
	r := s.request
	context := make([]string, 0, 6)
	add := func(label, value string) {
		if value != "" {
			context = append(context, fold(label+Sanitize(value, maxDialogText)))
		}
	}
	add("Vault: ", r.Vault)
	add("Namespace: ", r.Namespace)
	add("Rule: ", r.Rule)
	if len(r.Requester.Chain) > 1 {
		add("Started by: ", strings.Join(r.Requester.Chain[1:], ", "))
	}
	if claim, ok := strings.CutPrefix(claimed(r), "calls itself: "); ok {
		add("Calls itself: ", claim)
	}
	return joinBlocks(fold(who(r)+" wants to "+what(r)), strings.Join(context, "\n"))
}

// trouble says what went wrong before; "" when nothing did.
func (s sheet) trouble() string {
	r := s.request
	message := cmp.Or(s.note, r.Message)
	switch {
	case r.Attempt <= 1 || s.note != "":
		return fold(message)
	case message == "":
		message = "please try again"
	}
	return fold("Attempt " + ofAttempts(r) + ": " + message)
}

func ofAttempts(r Request) string {
	switch {
	case r.Attempts <= 0:
		return strconv.Itoa(r.Attempt)
	case r.Attempt >= r.Attempts:
		return fmt.Sprintf("%d of %d, the last one", r.Attempt, r.Attempts)
	}
	return fmt.Sprintf("%d of %d", r.Attempt, r.Attempts)
}

// wish says what to do, and how long there is time for it.
func (s sheet) wish(canDeny bool) string {
	r := s.request
	lines := []string{fold(s.demand())}
	if s.both {
		lines = append(lines, fold(codeToo(r.With)), noEnter)
	}
	if waiting := queued(r); waiting != "" {
		lines = append(lines, waiting)
	}
	if s.seconds > 0 {
		lines = append(lines, fmt.Sprintf("This window closes after %d s", s.seconds))
	}
	if id := Sanitize(r.ID, maxName); !canDeny && id != "" {
		lines = append(lines, "To deny it, run: stepup deny "+id)
	}
	return strings.Join(lines, "\n")
}

func (s sheet) demand() string {
	r, of := s.request, ""
	if r.Method != "" {
		of = " for " + r.Method
	}
	switch r.Kind {
	case Passcode:
		if r.Enrolment != nil {
			of = " of the new secret" + of
		}
		if r.Digits > 0 {
			of += " (" + strconv.Itoa(r.Digits) + " digits)"
		}
		return "Passcode" + of
	case Password:
		return "Password" + of
	case Choose:
		return "Choose how to confirm it"
	case Push:
		return "Tap " + r.Number + " on your phone" + through(r)
	}
	return "Go on?"
}

// Words of a window with a field for the password and one for the code. Enter sends
// nothing there: zenity's fields do not press its button.
const (
	fieldPassword = "Password"
	fieldCode     = "Code"
	noEnter       = "Enter does not send it: press OK, with the mouse or by Tab"
)

func codeToo(w With) string {
	of := w.Method
	if w.Digits > 0 {
		of += " (" + strconv.Itoa(w.Digits) + " digits)"
	}
	return "Code for " + of + "; left empty, it is asked for later"
}

// Words of the windows that show a new secret.
const (
	labelNext = "Continue"
	scanTitle = "Scan this with your authenticator"
	typeTitle = "or type this secret into it:"
	seedTitle = "Put this into your authenticator:"
	nextTitle = "The next window asks for the first code"
)

// seedText is the secret for windows that take it as text; "" for other questions.
func (s sheet) seedText() string {
	if s.request.Enrolment == nil {
		return ""
	}
	lines := seedWords(s.request, groupsPerLine)
	for i, line := range lines {
		lines[i] = fold(line)
	}
	return seedTitle + "\n" + strings.Join(lines, "\n")
}

// pinentryPrompt stands before the field.
func pinentryPrompt(k Kind) string {
	if k == Passcode {
		return "Passcode:"
	}
	return "Password:"
}

// denyChoice stands below the choices where there is no button for a no.
const denyChoice = "Deny this request"

// again says why an answer was not taken.
func again(r Request) string {
	switch {
	case r.Kind == Choose:
		return "Nothing was chosen"
	case r.Kind == Passcode:
		return "That was no passcode"
	case r.takesCode():
		return "That was no password, or no code beside it"
	}
	return "That was no password"
}

// choiceLines number the choices, so that none can look like a button.
func choiceLines(r Request) []string {
	lines := make([]string, 0, len(r.Choices))
	for i, c := range r.Choices {
		lines = append(lines, strconv.Itoa(i+1)+") "+c)
	}
	return lines
}

// inset stands before what continues a line.
const inset = "    "

// fold breaks a line where it gets too wide, at a blank or else behind a slash
// or anywhere. What continues a line is set in: a stranger must not be able to
// begin one.
func fold(line string) string {
	var b strings.Builder
	for width := dialogColumns; len(line) > width; width = dialogColumns - len(inset) {
		cut := strings.LastIndexByte(line[:width], ' ')
		if cut < width/2 {
			cut = strings.LastIndexByte(line[:width-1], '/') + 1
		}
		if cut < width/2 {
			cut = width
		}
		b.WriteString(strings.TrimRight(line[:cut], " ") + "\n" + inset)
		line = strings.TrimLeft(line[cut:], " ")
	}
	return b.String() + line
}
