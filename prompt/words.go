package prompt

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The words of a question, the same on every prompter, which only lays them out. Their rules:
// sentence case and no full stop; the requester and its action first, then the place, then
// the problem, then the instructions; nothing that the person cannot act on; only text that
// went through the sanitiser. The methods below expect a request from [Request.Sanitized].

// Brief returns one line, without its end: the requester and its action.
func Brief(r Request) string {
	r = r.Sanitized()
	return "stepup: " + r.Requester.Name() + " wants to " + r.Action()
}

// Name is the program and its process number: "terraform (pid 4711)". Where anybody but
// root could give it that name, it is the whole path, and Name says so:
// "/tmp/terraform (pid 4711, not installed by the system)".
func (q Requester) Name() string {
	if q.Hidden {
		return q.hiddenName()
	}
	name := q.Exe[strings.LastIndexByte(q.Exe, '/')+1:]
	if name == "" && len(q.Chain) > 0 {
		name = q.Chain[0]
	}
	var facts []string
	if q.PID != 0 {
		facts = append(facts, fmt.Sprintf("pid %d", q.PID))
	}
	if q.Origin != "" && (q.Exe != "" || q.Origin == OriginEnded) {
		name, facts = quotePath(q.Exe), append(facts, q.Origin.words())
	}
	name = cmp.Or(name, "an unknown program")
	if len(facts) == 0 {
		return name
	}
	return name + " (" + strings.Join(facts, ", ") + ")"
}

// ShortName is Name for a title: where the kernel says that an interpreter runs, by its own
// word with the script, as in "python3 deploy.py".
func (q Requester) ShortName() string {
	word, script, _ := strings.Cut(q.Claim, " ")
	exe := q.Exe[strings.LastIndexByte(q.Exe, '/')+1:]
	switch {
	case q.Hidden, exe == "":
	case q.Origin == OriginUnknown && q.PID != 0: // most often, it has ended
		return fmt.Sprintf("%s (pid %d)", quotePath(q.Exe), q.PID)
	case q.Origin == OriginUnknown:
		return quotePath(q.Exe)
	case q.Origin == "" && word != "" && script != "" && strings.HasPrefix(exe, word):
		return Sanitize(q.Claim, MaxName)
	}
	return q.Name()
}

func (o Origin) words() string {
	switch o {
	case OriginUser:
		return "not installed by the system"
	case OriginReplaced:
		return "its file was deleted or replaced"
	case OriginSandbox:
		return "not installed by the system, from a container or sandbox"
	case OriginEnded:
		return "the process that connected has ended"
	}
	return "where it comes from cannot be told"
}

// quotePath puts a path into quotes that could look like words of ours: a folder may be
// called "vault (pid 7) wants to read kv". The sanitiser leaves no quote in a path.
func quotePath(path string) string {
	if strings.ContainsAny(path, " (),:'") {
		return "'" + strings.ReplaceAll(path, "'", "?") + "'"
	}
	return path
}

// hiddenName names a program whose process the kernel does not let the agent look at.
// The kernel tells its number on unix sockets only, and its name is its own choice.
func (q Requester) hiddenName() string {
	const words = "a program that hides itself from you"
	if q.PID == 0 || len(q.Chain) == 0 {
		return words
	}
	return fmt.Sprintf(words+" and calls itself %s (pid %d)", q.Chain[0], q.PID)
}

// Action is the request in words that follow "wants to": "read kv/data/prod/db".
func (r Request) Action() string {
	switch {
	case r.Rule == "" && r.Path == "":
		return "log in"
	case r.Rule == "":
		return "log in at " + r.Path
	case r.Path == "":
		return "step up for rule " + r.Rule
	case r.Operation == "":
		return "use " + r.Path
	}
	return r.Operation + " " + r.Path
}

// Sentence is the requester and its action: "terraform (pid 4711) wants to read kv/data/prod/db".
// The name of a program stays as it is at the beginning; our own words for one do not.
func (r Request) Sentence() string {
	name := r.Requester.Name()
	if r.Requester.Hidden || strings.HasPrefix(name, "an unknown program") {
		name = Capitalize(name)
	}
	return name + " wants to " + r.Action()
}

// Capitalize makes words the beginning of a line.
func Capitalize(words string) string {
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// known returns the label and the value of each pair whose value is known.
func known(pairs ...string) []string {
	var lines []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			lines = append(lines, pairs[i]+pairs[i+1])
		}
	}
	return lines
}

// labelled is the line of known for one pair; "" for none.
func labelled(label, value string) string { return strings.Join(known(label, value), "") }

// Facts are Vault, namespace, rule and the parents of the requester, where known, as "Vault: corp".
func (r Request) Facts() []string {
	parents, orphan := "", ""
	switch len(r.Requester.Chain) {
	case 0:
	case 1: // a program that leaves its parents behind hides what started it
		orphan = "started by the system or by a program that has ended"
	default:
		parents = strings.Join(r.Requester.Chain[1:], ", ")
	}
	return known("Vault: ", r.Vault, "Namespace: ", r.Namespace, "Rule: ", r.Rule, "Started by: ", parents, "No parents: ", orphan)
}

// Details are the facts in one line; "" when none is known. No name has a semicolon, so that
// none can look like two facts.
func (r Request) Details() string {
	facts := r.Facts()
	for i := range facts[min(1, len(facts)):] {
		facts[i+1] = strings.ToLower(facts[i+1][:1]) + facts[i+1][1:]
	}
	return strings.Join(facts, "; ")
}

// Allowed says what a yes allows, where that is more than the request.
func (r Request) Allowed() string { return labelled("A yes allows ", r.Allows) }

// Claims are the name that the requester gives itself, where it is not the one that the kernel
// knows, and the programs that a hidden one may be. They say that they are claims and guesses:
// any process can say anything, and the first guess must not be taken for the one that asks.
func (r Request) Claims() []string {
	claim, guesses := r.Requester.Claim, []string(nil)
	if len(r.Requester.Chain) > 0 && claim == r.Requester.Chain[0] {
		claim = ""
	}
	for _, c := range r.Requester.MayBe {
		guesses = append(guesses, fmt.Sprintf("%s (pid %d)", c.Name, c.PID))
	}
	return known("Calls itself: ", claim, "May be (a guess): ", strings.Join(guesses, ", "))
}

// Problem says what happened before, and which attempt this is; "" where there is nothing to
// say.
func (r Request) Problem() string {
	switch {
	case r.Kind == Push && r.Message == r.pushed():
		return "" // the label says it
	case r.Attempt <= 1:
		return Capitalize(r.Message)
	}
	attempt := strconv.Itoa(r.Attempt)
	if r.Attempts > 0 {
		attempt += " of " + strconv.Itoa(r.Attempts)
	}
	if r.Attempt == r.Attempts {
		attempt += ", the last one"
	}
	return "Attempt " + attempt + ": " + cmp.Or(r.Message, "please try again")
}

// Notes are the lines below the details: what a yes allows, the claims, the problem, what may
// stand behind a passcode, and the questions that wait.
func (r Request) Notes() []string {
	keep := ""
	if r.Kind == Passcode {
		keep = r.KeepNote()
	}
	return slices.Concat(known("", r.Allowed()), r.Claims(), known("", r.Problem(), "", keep, "", r.QueuedNote()))
}

// KeepNote says which words may stand behind an answer that is typed; "" where there is
// nothing to choose.
func (r Request) KeepNote() string {
	var ways []string
	for _, c := range r.Keeps {
		ways = append(ways, "'"+string(c.Word)+"' ("+c.Means+")")
	}
	what := "the passcode"
	if r.Kind == Confirm {
		what = "y"
	}
	return labelled("Behind "+what+" you may type ", strings.Join(ways, " or "))
}

// Label names the answer that is wanted, with what is known of it and the notes in
// parentheses: "Passcode for corp_totp (6 digits)".
func (r Request) Label(notes ...string) string {
	label := "Allow it?"
	switch r.Kind {
	case Passcode:
		label = "Passcode" + r.ForMethod()
		if r.Enrolment != nil {
			label = "First passcode" + r.ForMethod()
		}
		if r.Digits > 0 {
			notes = append([]string{strconv.Itoa(r.Digits) + " digits"}, notes...)
		}
	case Password:
		label = "Password" + r.ForMethod()
	case Choose:
		label = "Choose how to confirm it"
	case Push:
		label = Capitalize(r.pushed()) + r.methodNote()
	}
	if notes = slices.DeleteFunc(notes, func(note string) bool { return note == "" }); len(notes) > 0 {
		label += " (" + strings.Join(notes, ", ") + ")"
	}
	return label
}

// RetryNote says why an answer, as it was typed, was not taken.
func (r Request) RetryNote(typed string) string {
	if _, _, fits := CutKeep(r, typed); !fits {
		return "the word behind the answer is no choice here"
	}
	notes := map[Kind]string{Passcode: "that was no passcode", Choose: "that is none of the choices"}
	return cmp.Or(notes[r.Kind], "that was no password")
}

// Title is the heading of a window or notification: what a question is about, or what to do
// for a push.
func (r Request) Title() string {
	switch {
	case r.Enrolment != nil:
		return "stepup: a new secret" + r.ForMethod()
	case r.Kind != Push:
		return "stepup: allow " + r.doing() + "?"
	}
	return "stepup: " + r.pushed()
}

// pushed says how a push is decided, for which nothing is typed.
func (r Request) pushed() string {
	switch {
	case r.MethodType == ControlGroup:
		return "somebody else has to approve it"
	case r.Number != "":
		return "tap " + r.Number + " in Okta Verify" // no other method has a number
	}
	return "approve it on your phone"
}

// doing is [Request.Action] in words that follow "allow": "reading kv/data/prod/db".
func (r Request) doing() string {
	const most = 80 // of a path, in a bar that has no second line
	path := Sanitize(r.Path, most)
	forms := map[string]string{
		"create": "creating", "read": "reading", "update": "updating", "patch": "patching", "delete": "deleting", "list": "listing",
	}
	switch {
	case r.Rule == "" && r.Path == "":
		return "a login"
	case r.Rule == "":
		return "a login at " + path
	case r.Path == "":
		return "a step-up for rule " + r.Rule
	case forms[r.Operation] == "":
		return "the use of " + path
	}
	return forms[r.Operation] + " " + path
}

// ForMethod is the method in words that follow "passcode": " for corp_totp"; "" where it is not known.
func (r Request) ForMethod() string { return labelled(" for ", r.Method) }

// methodNote is the method and its type in parentheses, with a blank before them; "" when neither is known.
func (r Request) methodNote() string {
	names := slices.Compact(known("", r.Method, "", r.MethodType))
	if len(names) == 0 || r.MethodType == ControlGroup {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// NumberedChoices are the choices with a number in front, so that none can look like a
// button or a line of ours. The number is an answer too.
func (r Request) NumberedChoices() []string {
	lines := make([]string, 0, len(r.Choices))
	for i, choice := range r.Choices {
		lines = append(lines, strconv.Itoa(i+1)+") "+choice)
	}
	return lines
}

// QueuedNote says how many other questions wait; "" for none.
func (r Request) QueuedNote() string {
	switch {
	case r.Queued <= 0:
		return ""
	case r.Queued == 1:
		return "1 more question is waiting"
	}
	return strconv.Itoa(r.Queued) + " more questions are waiting"
}

// Withdrawn says why a question that is on the screen needs no answer any more. The
// cause is the [context.Cause] of the prompter's context, or [Event.Cause].
func Withdrawn(cause error) string {
	var decided Decided
	if errors.As(cause, &decided) {
		return cmp.Or(SanitizeText(decided.Message, maxMessage), "the push was decided")
	}
	for _, end := range []struct {
		cause error
		words string
	}{
		{ErrElsewhere, "answered elsewhere"},
		{ErrDenied, "denied elsewhere"},
		{ErrTimeout, "timed out"},
		{ErrCanceled, "cancelled"},
		{ErrDismissed, "closed without an answer"},
		{ErrUnavailable, "given up"},
		{ErrReopened, "shown anew"},
		{ErrPutAside, "put aside: another question comes first"},
	} {
		if errors.Is(cause, end.cause) {
			return end.words
		}
	}
	return "no longer needed"
}

// Labels of the buttons, the same in windows and notifications, and headings of a new secret.
const (
	LabelAllow    = "Allow" // as the title asks: "allow reading kv/data/prod/db?"
	LabelSend     = "Send"  // a code or a password
	LabelContinue = "Continue"
	LabelDeny     = "Deny"
	LabelNotNow   = "Not now"
	LabelAnswer   = "Answer"
	LabelOK       = "OK" // there is nothing to decide here

	ScanSecret = "Scan this with your authenticator"
	TypeSecret = "Type this into your authenticator"
)

// EscapeMarkup returns text in which nothing is markup any more, for Pango, Qt and
// notification servers. Quotes need no escape outside a tag, and GNOME shows the
// numeric escapes of package html as they are.
func EscapeMarkup(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
