package prompt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// This file owns every word that a person reads on a terminal. Its rules: lower
// case and no full stop; first who wants what, then where, then what is wrong,
// then what to do; nothing that the person cannot act on; only text that went through
// the sanitiser.

// Render says who wants what and why, in one or more lines that each end with a
// newline: what stands above the question.
func Render(r Request) string {
	r = r.sanitized()
	var b strings.Builder
	b.WriteString(Brief(r) + "\n")
	line := func(s string) {
		if s != "" {
			b.WriteString("  " + s + "\n")
		}
	}
	line(where(r))
	line(claimed(r))
	line(r.Message)
	line(attempt(r))
	line(queued(r))
	if r.Kind == Choose {
		for i, c := range r.Choices {
			line(strconv.Itoa(i+1) + ") " + c)
		}
	}
	if r.Kind == Push && r.Number != "" {
		b.WriteString("\n" + large(r.Number) + "\n")
	}
	return b.String()
}

// claimed is what the requester says of itself, where that says more than the
// name that the kernel knows. It is marked as a claim: any process can say it.
func claimed(r Request) string {
	c := r.Requester.Claim
	if c == "" || len(r.Requester.Chain) > 0 && c == r.Requester.Chain[0] {
		return ""
	}
	return "calls itself: " + c
}

// Brief is the first line of Render without its end: who wants what.
func Brief(r Request) string {
	r = r.sanitized()
	return "stepup: " + who(r) + " wants to " + what(r)
}

// Question is the line that the answer is typed behind; it ends with a blank.
func Question(r Request, now time.Time) string {
	r = r.sanitized()
	of := ""
	if r.Method != "" {
		of = " for " + r.Method
	}
	rest := remaining(r, now) + "ctrl-c to deny): "
	if r.Enrolment != nil {
		return "  its first code" + of + " (" + digits(r.Digits) + rest
	}
	switch r.Kind {
	case Passcode:
		return "  passcode" + of + " (" + digits(r.Digits) + rest
	case Password:
		return "  password" + of + " (not shown, " + rest
	case Choose:
		return "  your choice, 1 to " + strconv.Itoa(len(r.Choices)) + " (" + rest
	case Confirm:
		return "  go on? y/N (" + rest
	}
	if r.MethodType == ControlGroup && r.ID != "" {
		return "  " + pushWish(r) + " (to give up: stepup deny " + r.ID + ")\n"
	}
	return "  " + pushWish(r) + "\n"
}

// codeQuestion is the line that the code is typed behind that may come with a
// password.
func codeQuestion(r Request, now time.Time) string {
	r = r.sanitized()
	return "  passcode for " + r.With.Method + " (" + digits(r.With.Digits) + "empty to be asked later, " + remaining(r, now) + "ctrl-c to deny): "
}

// pushWish says what the person has to do where nothing is typed.
func pushWish(r Request) string {
	if r.MethodType == ControlGroup {
		return "waiting for their approval"
	}
	if r.Number != "" {
		return "tap that number on your phone" + through(r)
	}
	return "approve it on your phone" + through(r)
}

// Withdrawn says why a question that is on the screen needs no answer any more.
func Withdrawn(cause error) string {
	var decided Decided
	switch {
	case errors.As(cause, &decided):
		return decidedWords(decided)
	case errors.Is(cause, ErrElsewhere):
		return "answered elsewhere"
	case errors.Is(cause, ErrDenied):
		return "denied elsewhere"
	case errors.Is(cause, ErrTimeout):
		return "timed out"
	case errors.Is(cause, ErrCanceled):
		return "cancelled"
	case errors.Is(cause, ErrDismissed):
		return "closed without an answer"
	case errors.Is(cause, ErrUnavailable):
		return "given up"
	}
	return "no longer needed"
}

func decidedWords(d Decided) string {
	if message := SanitizeText(d.Message, maxMessage); message != "" {
		return message
	}
	return "the push was decided"
}

// misfit says why an answer was not taken.
func misfit(r Request) string {
	switch r.Kind {
	case Choose:
		return "  please type a number from 1 to " + strconv.Itoa(len(r.Choices))
	case Passcode:
		return "  please type the code, or ctrl-c to deny"
	}
	return "  please type the password, or ctrl-c to deny"
}

const (
	misfitCode     = "  please type the code, or nothing to be asked for it later"
	deniedWords    = "  denied"
	dismissedWords = "  not answered here"
	stillShown     = "  clear this screen: the secret is still on it"
)

// seedWords are the secret of r for typing it by hand, in lines without a margin.
func seedWords(r Request, groupsPerLine int) []string {
	e := r.Enrolment
	lines := append([]string{"secret:"}, e.groups(groupsPerLine)...)
	if name := e.name(); name != "" {
		lines = append(lines, "account: "+name)
	}
	return append(lines, fmt.Sprintf("kind: time-based, %d digits, %d s, %s", e.Digits, e.Period, e.Algorithm))
}

// scanWords stand above the code and the secret; typeWords where there is no room
// for a code.
const (
	scanWords = "scan the QR code with an authenticator, or type the secret into it"
	typeWords = "type this into an authenticator"
)

func who(r Request) string {
	name := r.Requester.Exe[strings.LastIndexByte(r.Requester.Exe, '/')+1:]
	if name == "" && len(r.Requester.Chain) > 0 {
		name = r.Requester.Chain[0]
	}
	switch {
	case r.Requester.PID == 0 && name == "":
		return "an unknown program"
	case r.Requester.PID == 0:
		return name
	case name == "":
		return fmt.Sprintf("an unknown program (pid %d)", r.Requester.PID)
	}
	return fmt.Sprintf("%s (pid %d)", name, r.Requester.PID)
}

func what(r Request) string {
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

func where(r Request) string {
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
	return strings.Join(parts, ", ")
}

func attempt(r Request) string {
	switch {
	case r.Attempt <= 1:
		return ""
	case r.Attempts <= 0:
		return "attempt " + strconv.Itoa(r.Attempt)
	}
	return fmt.Sprintf("attempt %d of %d", r.Attempt, r.Attempts)
}

func queued(r Request) string {
	switch {
	case r.Queued <= 0:
		return ""
	case r.Queued == 1:
		return "1 more question is waiting"
	}
	return strconv.Itoa(r.Queued) + " more questions are waiting"
}

func digits(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n) + " digits, "
}

func remaining(r Request, now time.Time) string {
	left := r.Deadline.Sub(now).Round(time.Second)
	if r.Deadline.IsZero() || left <= 0 {
		return ""
	}
	return fmt.Sprintf("%d s, ", int(left/time.Second))
}

func through(r Request) string {
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
