package prompt

import (
	"strconv"
	"strings"
)

// reach is what a person can do with a notification; zero is nothing but read
// its title.
type reach struct {
	body    bool // there is text below the title
	buttons bool
	reply   bool // a line can be typed into it
	markup  bool // the body is markup
}

// A notice is the text of one notification.
type notice struct {
	title string // one line, plain
	body  string // lines; markup if the reach says so
}

// describe words the notification for a sanitised request: the title says what
// to do, because it is all that a closed drawer shows; the body begins with who wants what.
func describe(r Request, can reach) notice {
	if !can.body {
		return notice{title: Brief(compact(r))}
	}
	r = compact(r)
	chain := r.Requester.Chain
	r.Requester.Chain = chain[:min(len(chain), 1)]
	lines := []string{
		who(r) + " wants to " + what(r), where(r), startedBy(chain), claimed(r),
		r.Message, attempt(r), queued(r), choices(r),
	}
	lines = append(lines, instructions(r, can)...)
	if !r.Deadline.IsZero() {
		lines = append(lines, "open until "+r.Deadline.Local().Format("15:04:05"))
	}
	var b strings.Builder
	for _, line := range lines {
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	body := strings.TrimSuffix(b.String(), "\n")
	if can.markup {
		body = escapeMarkup(body)
	}
	return notice{title: title(r), body: body}
}

// compact shortens r: what does not fit on the screen, the last lines with what
// to do among it, is cut off, and nobody can scroll there.
func compact(r Request) Request {
	const name, path, message = 32, 120, 200
	r.Requester.Exe = Sanitize(r.Requester.Exe[strings.LastIndexByte(r.Requester.Exe, '/')+1:], name)
	r.Requester.Claim = Sanitize(r.Requester.Claim, name)
	r.Path = Sanitize(r.Path, path)
	for _, field := range []*string{&r.Rule, &r.Vault, &r.Namespace, &r.Operation, &r.Method, &r.MethodType} {
		*field = Sanitize(*field, name)
	}
	r.Message = SanitizeText(r.Message, message)
	return r
}

// startedBy is the chain of parents without an arrow, which is half a tag to
// desktops that half know markup.
func startedBy(chain []string) string {
	const most = 5
	if len(chain) < 2 {
		return ""
	}
	names := make([]string, 0, most)
	for _, name := range chain[:min(len(chain), most)] {
		names = append(names, Sanitize(name, 20))
	}
	return "asked by " + strings.Join(names, " from ")
}

func title(r Request) string {
	of := ""
	if r.Method != "" {
		of = " for " + r.Method
	}
	if r.Enrolment != nil {
		return "stepup: a new secret" + of
	}
	switch r.Kind {
	case Passcode:
		return "stepup: passcode" + of
	case Password:
		return "stepup: password" + of
	case Choose:
		return "stepup: your choice"
	case Confirm:
		return "stepup: go on?"
	}
	switch {
	case r.MethodType == ControlGroup:
		return "stepup: somebody else has to approve it"
	case r.Number != "":
		return "stepup: tap " + r.Number + " on your phone"
	}
	return "stepup: approve it on your phone"
}

// choices lists the first few: more than that is read where it is answered.
func choices(r Request) string {
	const most = 9
	if r.Kind != Choose {
		return ""
	}
	var parts []string
	for i, c := range r.Choices[:min(len(r.Choices), most)] {
		parts = append(parts, strconv.Itoa(i+1)+") "+c)
	}
	if rest := len(r.Choices) - most; rest > 0 {
		parts = append(parts, strconv.Itoa(rest)+" more")
	}
	return strings.Join(parts, ", ")
}

// instructions say how to answer and how to refuse, where no button does.
func instructions(r Request, can reach) []string {
	id := Sanitize(r.ID, maxName)
	var lines []string
	switch {
	case r.Kind == Push:
		lines = append(lines, pushWish(r))
		if can.buttons {
			return append(lines, "deny it if you did not ask for this")
		}
	case r.Enrolment != nil:
		lines = append(lines, "it is shown in a window, or on a terminal by: stepup attach")
	case id == "", r.Kind == Confirm && can.buttons:
	case r.Kind == Confirm:
		lines = append(lines, "to go on: stepup answer "+id+" yes")
	case can.reply:
		lines = append(lines, "type it here, or: stepup answer "+id)
	default:
		lines = append(lines, "to answer: stepup answer "+id)
	}
	if !can.buttons && id != "" {
		lines = append(lines, "to deny: stepup deny "+id)
	}
	return lines
}

// escapeMarkup makes text of what could be markup. Quotes need no escape outside a
// tag, and GNOME shows the numeric ones of package html as they are.
func escapeMarkup(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// appName is whom notifications are from.
const appName = "stepup"

// The labels of the buttons.
const (
	labelApprove = "Approve"
	labelDeny    = "Deny"
	labelLeave   = "Not now"
	labelSeen    = "OK"
	labelReply   = "Enter code"
)

// notACode says why what was typed into a notification was not taken.
const notACode = "that was no code: type it again"
