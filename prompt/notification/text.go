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
}

type notice struct {
	title string // one line, plain
	body  string // lines; markup if the capabilities say so
}

// describe words the notification for a sanitised request. The title has the
// instruction, because a closed drawer shows nothing else; the body begins with the
// requester.
func describe(r prompt.Request, can capabilities) notice {
	if !can.body {
		return notice{title: prompt.Brief(compact(r))}
	}
	r = compact(r)
	place := r
	if len(r.Requester.Chain) > 1 {
		place.Requester.Chain = nil // its parents have a line of their own
	}
	lines := []string{r.Requester.Name() + " wants to " + r.Action(), place.Details(), startedBy(r.Requester.Chain)}
	lines = slices.Concat(lines, r.Notes(), []string{choices(r)}, instructions(r, can))
	if !r.Deadline.IsZero() {
		lines = append(lines, "open until "+r.Deadline.Local().Format("15:04:05"))
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	body := strings.Join(lines, "\n")
	if can.markup {
		body = prompt.EscapeMarkup(body)
	}
	return notice{title: r.Title(), body: body}
}

// compact shortens r. A notification does not scroll: the lines that do not fit on the
// screen are lost, and the last ones have the instructions.
func compact(r prompt.Request) prompt.Request {
	const name, path, message = 32, 120, 200
	r.Requester.Exe = r.Requester.ShortExe(name, path)
	r.Requester.Claim = prompt.Sanitize(r.Requester.Claim, 2*name)
	r.Requester.MayBe = r.Requester.MayBe[:min(len(r.Requester.MayBe), 3)]
	r.Path = prompt.Sanitize(r.Path, path)
	for _, field := range []*string{&r.Rule, &r.Vault, &r.Namespace, &r.Operation, &r.Method, &r.MethodType} {
		*field = prompt.Sanitize(*field, name)
	}
	r.Message = prompt.SanitizeText(r.Message, message)
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
		names = append(names, prompt.Sanitize(name, 20))
	}
	return "asked by " + strings.Join(names, " from ")
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

// instructions say how to answer and how to deny, where no button does.
func instructions(r prompt.Request, can capabilities) []string {
	id := prompt.Sanitize(r.ID, prompt.MaxName)
	var lines []string
	switch {
	case r.Kind == prompt.Push:
		lines = append(lines, r.PushInstructions())
		if can.buttons {
			return append(lines, "deny it if you did not ask for this")
		}
	case r.Enrolment != nil:
		lines = append(lines, "it is shown in a window, or on a terminal by: stepup attach")
	case id == "", r.Kind == prompt.Confirm && can.buttons:
	case r.Kind == prompt.Confirm:
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

const appName = "stepup"
