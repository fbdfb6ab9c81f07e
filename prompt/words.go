package prompt

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The words that more than one prompter shows. Their rules: lower case and no full
// stop; the requester and its action first, then the place, then the problem, then the
// instructions; nothing that the person cannot act on; only text that went through the
// sanitiser. The methods below expect a request from [Request.Sanitized].

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

// Guess lists the programs that a hidden one may be, behind "it may be" or the like; ""
// when there are none. It says that it is a guess: a person must not take the first one
// for the one that asks.
func (q Requester) Guess() string {
	var names []string
	for _, c := range q.MayBe {
		names = append(names, fmt.Sprintf("%s (pid %d)", c.Name, c.PID))
	}
	if len(names) == 0 {
		return ""
	}
	return "(a guess): " + strings.Join(names, ", ")
}

// OtherName returns the claim where it says more than the name that the kernel knows,
// else "". A prompter must mark it as a claim: any process can say it.
func (q Requester) OtherName() string {
	if len(q.Chain) > 0 && q.Claim == q.Chain[0] {
		return ""
	}
	return q.Claim
}

// Action is the request in words that follow "wants to": "read kv/data/prod/db".
func (r Request) Action() string {
	switch {
	case r.Rule == "" && r.Path == "":
		return "log in"
	case r.Rule == "":
		return "log in at " + r.Path
	case r.Path == "":
		return "pass rule " + r.Rule
	case r.Operation == "":
		return "use " + r.Path
	}
	return r.Operation + " " + r.Path
}

// Details are Vault, namespace, rule and the parents of the requester in one line; "" when none is known.
func (r Request) Details() string {
	var parts []string
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, label+value)
		}
	}
	add("vault ", r.Vault)
	add("namespace ", r.Namespace)
	add("rule ", r.Rule)
	if len(r.Requester.Chain) > 1 {
		add("asked by ", strings.Join(r.Requester.Chain, " <- "))
	}
	add("", r.Requester.Orphan())
	return strings.Join(parts, ", ")
}

// Orphan says that nothing is known above the requester; "" where its parents are known, or
// not even the requester is. A program that leaves its parents behind hides what started it.
func (q Requester) Orphan() string {
	if len(q.Chain) != 1 {
		return ""
	}
	return "no parents: started by the system or by a program that has ended"
}

// Notes are the lines below the details: what a yes allows, the claim of the requester or a guess at it,
// what happened before, the attempt, and the questions that wait.
func (r Request) Notes() []string {
	var notes []string
	add := func(label, value string) {
		if value != "" {
			notes = append(notes, label+value)
		}
	}
	add("allows ", r.Allows)
	add("calls itself: ", r.Requester.OtherName())
	add("it may be ", r.Requester.Guess())
	add("", r.Message)
	if r.Kind == Passcode {
		add("", r.KeepNote("the code"))
	}
	add("", r.AttemptNote())
	add("", r.QueuedNote())
	return notes
}

// KeepNote says which words may stand behind an answer, what being "the code"; "" where
// there is nothing to choose.
func (r Request) KeepNote(what string) string {
	var ways []string
	for _, c := range r.Keeps {
		ways = append(ways, "'"+string(c.Word)+"' ("+c.Means+")")
	}
	if len(ways) == 0 {
		return ""
	}
	return "behind " + what + " you may type " + strings.Join(ways, " or ")
}

// Title is the heading of a window or notification: what a question is about, or what to do
// for a push.
func (r Request) Title() string {
	switch {
	case r.Enrolment != nil:
		return "stepup: a new secret" + r.ForMethod()
	case r.Kind != Push:
		return "stepup: allow " + r.doing() + "?"
	case r.MethodType == ControlGroup:
		return "stepup: somebody else has to approve it"
	case r.Number != "":
		return "stepup: tap " + r.Number + " on your phone"
	}
	return "stepup: approve it on your phone"
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
		return "rule " + r.Rule
	case forms[r.Operation] == "":
		return "the use of " + path
	}
	return forms[r.Operation] + " " + path
}

// PushInstructions say how to decide a Push, for which nothing is typed.
func (r Request) PushInstructions() string {
	if r.MethodType == ControlGroup {
		return "waiting for their approval"
	}
	if r.Number != "" {
		return "tap that number on your phone" + r.MethodNote()
	}
	return "approve it on your phone" + r.MethodNote()
}

// ForMethod is the method in words that follow "passcode": " for corp_totp"; "" where it is not known.
func (r Request) ForMethod() string {
	if r.Method == "" {
		return ""
	}
	return " for " + r.Method
}

// MethodNote is the method and its type in parentheses, with a blank before them; "" when neither is known.
func (r Request) MethodNote() string {
	switch {
	case r.Method == r.MethodType && r.Method != "":
		return " (" + r.Method + ")"
	case r.Method != "" && r.MethodType != "":
		return " (" + r.Method + ", " + r.MethodType + ")"
	case r.Method+r.MethodType != "":
		return " (" + r.Method + r.MethodType + ")"
	}
	return ""
}

// AttemptNote says which attempt this is; "" for the first.
func (r Request) AttemptNote() string {
	switch {
	case r.Attempt <= 1:
		return ""
	case r.Attempts <= 0:
		return "attempt " + strconv.Itoa(r.Attempt)
	}
	return fmt.Sprintf("attempt %d of %d", r.Attempt, r.Attempts)
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

// Labels of the buttons, the same in windows and notifications.
const (
	LabelAllow    = "Allow" // as the title asks: "allow reading kv/data/prod/db?"
	LabelSend     = "Send"  // a code or a password
	LabelContinue = "Continue"
	LabelDeny     = "Deny"
	LabelNotNow   = "Not now"
	LabelAnswer   = "Answer"
	LabelOK       = "OK" // there is nothing to decide here
)

// EscapeMarkup returns text in which nothing is markup any more, for Pango, Qt and
// notification servers. Quotes need no escape outside a tag, and GNOME shows the
// numeric escapes of package html as they are.
func EscapeMarkup(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
