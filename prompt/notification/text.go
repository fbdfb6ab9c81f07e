package notification

import (
	"slices"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/prompt"
)

// capabilities are what a person can do with a notification; the zero value is nothing
// but reading its title.
type capabilities struct {
	body    bool // there is text below the title
	buttons bool
	reply   bool // a line can be typed into it
	markup  bool // the body is markup
	joined  bool // it shows the lines of the body behind each other, as one
}

type notice struct {
	title string // one line, plain
	body  string // lines; markup if the capabilities say so
}

// describe words the notification for a sanitised request. The title says what is asked, or
// what to do for a push, because a closed drawer shows nothing else; the body begins with how
// to answer, or when to deny a push, and goes on with the requester: mako shows five rows of
// 26 characters, title and all, and cuts the rest off.
func describe(r prompt.Request, can capabilities) notice {
	if r.Kind == used {
		return describeUse(r, can)
	}
	r = shortened(r)
	if !can.body {
		return notice{title: prompt.Brief(r)}
	}
	lines := []string{instruction(r, can), r.Sentence(), r.Details()}
	lines = slices.Concat(lines, r.Notes(), []string{choices(r), pushNote(r), denial(r)})
	if !r.Deadline.IsZero() {
		lines = append(lines, "Open until "+r.Deadline.Local().Format("15:04:05"))
	}
	return notice{title: r.Title(), body: can.join(lines)}
}

// join makes a body of the lines that are not empty. What stands between them is in no text
// that came through the sanitiser, so that a stranger's cannot look like a line of ours.
func (c capabilities) join(lines []string) string {
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	between := "\n"
	if c.joined {
		between = " \u00b7 "
	}
	body := strings.Join(lines, between)
	if c.markup {
		body = prompt.EscapeMarkup(body)
	}
	return body
}

// labelLock is on the button that ends a step-up.
const labelLock = "Lock"

// describeUse is describe for a use of a step-up. The title says which program it was, because
// a closed drawer shows nothing else.
func describeUse(r prompt.Request, can capabilities) notice {
	r = shortened(r)
	n := notice{title: r.Requester.ShortName() + " used the step-up " + r.Rule}
	if !can.body {
		return n
	}
	place := r
	place.Rule = ""
	lines := append([]string{"To end it: stepup lock " + r.Rule, r.Requester.Name() + ": " + r.Action(), place.Details()}, place.Notes()...)
	n.body = can.join(lines)
	return n
}

// shortened is r with little of everything. A notification does not scroll: the lines that do
// not fit on the screen are lost.
func shortened(r prompt.Request) prompt.Request {
	const detail, decisive, parents = 40, 120, 5
	r = r.Shortened(detail, decisive)
	r.Requester.Chain = r.Requester.Chain[:min(len(r.Requester.Chain), 1+parents)]
	r.Keeps = nil // nothing is typed there
	return r
}

// choices lists the first few; the rest is shown where the question is answered.
func choices(r prompt.Request) string {
	const most = 9
	if r.Kind != prompt.Choose {
		return ""
	}
	parts := r.NumberedChoices()
	parts = parts[:min(len(parts), most)]
	if rest := len(r.Choices) - most; rest > 0 {
		parts = append(parts, strconv.Itoa(rest)+" more")
	}
	return strings.Join(parts, ", ")
}

// instruction says how to answer, in words that hold on every desktop. They name no button: a
// desktop that shows buttons needs no words for them, and mako has them but shows none.
func instruction(r prompt.Request, can capabilities) string {
	id := prompt.Sanitize(r.ID, prompt.MaxName)
	switch {
	case r.Kind == prompt.Push:
		return "Deny it if you did not ask for this" // the title says how to approve it
	case r.Enrolment != nil:
		return "It is shown in a window, or on a terminal by: stepup attach"
	case id == "":
		return ""
	case r.Kind == prompt.Confirm:
		return "To allow: stepup answer " + id + " yes"
	case can.reply:
		return "Type it here, or: stepup answer " + id
	}
	return "To answer: stepup answer " + id
}

// reopens reports whether the question is answered elsewhere, in a window or on a terminal.
func reopens(r prompt.Request, can capabilities) bool {
	return can.buttons && !can.reply && r.Kind != prompt.Push && r.Kind != prompt.Confirm && r.Kind != used
}

// pushNote says where a push is decided.
func pushNote(r prompt.Request) string {
	if r.Kind != prompt.Push {
		return ""
	}
	return r.Label()
}

// denial says how to deny, also where a button does.
func denial(r prompt.Request) string {
	id := prompt.Sanitize(r.ID, prompt.MaxName)
	if id == "" {
		return ""
	}
	return "To deny: stepup deny " + id
}

const appName = "stepup"
