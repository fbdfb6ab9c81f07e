// Package prompt asks the person: a broker shows one question on every prompter
// that can show it and takes the first answer. The prompters are in the packages
// below, one for each way to ask. Things that two of them share are here.
package prompt

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Kind is the kind of answer that a request asks for.
type Kind string

// The kinds of the prompt command's contract.
const (
	Passcode Kind = "passcode" // a one-time code; shown while it is typed
	Password Kind = "password" // hidden while it is typed
	Choose   Kind = "choose"   // one of Choices
	Confirm  Kind = "confirm"  // any answer but "no" is a yes, ErrDenied is a no
	Push     Kind = "push"     // the person is only told; ends when the push is decided
)

// ControlGroup is the MethodType of a Push that is no push: the request waits for
// the approval of other people, and Message says how they give it.
const ControlGroup = "control_group"

// A Request is one question. Every string in it may come from a stranger; the
// broker sanitises each with [Sanitize] before any prompter sees it. The JSON tags are
// those of the control socket: a new field needs omitempty or omitzero there.
type Request struct {
	ID         string       `json:"id"` // given by the broker; short, safe to type
	Kind       Kind         `json:"kind"`
	Rule       string       `json:"rule"` // "" for a login
	Vault      string       `json:"vault"`
	Namespace  string       `json:"namespace"`
	Path       string       `json:"path"`      // without /v1/
	Operation  string       `json:"operation"` // Vault's capability word
	Method     string       `json:"method"`
	MethodType string       `json:"method_type"`
	Digits     int          `json:"digits"` // length of a passcode, 0 when unknown
	Choices    []string     `json:"choices"`
	Attempt    int          `json:"attempt"` // from 1
	Attempts   int          `json:"attempts"`
	Message    string       `json:"message"`          // what happened before and what to do, for the person; may be ""
	Allows     string       `json:"allows,omitempty"` // what a yes allows, where that is more than this request
	Keeps      []KeepChoice `json:"keeps,omitempty"`  // what may stand behind the answer; see [CutKeep]
	Number     string       `json:"number"`           // of a push: what to tap on the phone, in digits; "" when there is none
	Requester  Requester    `json:"requester"`
	Deadline   time.Time    `json:"deadline"` // zero on the way into the broker means its Timeout
	Queued     int          `json:"queued"`   // other questions that wait; given by the broker

	// NotBefore is when the question can be answered: when the device shows its next code. The
	// broker's Timeout counts from then on. Zero means at once.
	NotBefore time.Time `json:"-"`

	// WithCode names the method whose code the answer to a Password may bring along, in
	// a second line; see [CutCode]. A prompter without room for both leaves the code
	// out, and the caller asks for it later.
	WithCode WithCode `json:"with,omitzero"`

	// Enrolment, where it is not nil, is a secret whose first code a Passcode asks for.
	// The broker hands it only to prompters and to watchers that attach. Its deadline may
	// be later than the broker's Timeout.
	Enrolment *Enrolment `json:"-"`
}

// A Requester is the process that a question is for. The agent fills it with the peer
// as the kernel knows it, and the broker sanitises it. The JSON tags are those of the
// control socket: a new field needs omitempty there, a line in Sanitized, and its words.
type Requester struct {
	PID   int      `json:"pid"`   // 0 when unknown
	UID   int      `json:"uid"`   // -1 when unknown
	Exe   string   `json:"exe"`   // path of the executable, as the kernel knows it; "" when unknown
	Chain []string `json:"chain"` // base names, from the process itself up to the session

	// Origin says why Exe, the whole path, is no proof of what the program is; "" where
	// only root could put it there.
	Origin Origin `json:"origin,omitempty"`

	// Claim is the name that the process gives itself. Any process can say anything here.
	Claim string `json:"claim"`

	// Hidden reports that the kernel does not let the agent look at the process. Exe is
	// "" then; with PID 0 the process is unknown, and MayBe holds a guess.
	Hidden bool        `json:"hidden,omitempty"`
	MayBe  []Candidate `json:"may_be,omitempty"`
}

// An Origin says how far the path of an executable can be believed. Each has its words in
// [Requester.Name]; one that is not listed here has those of "unknown".
type Origin string

// The origins of the agent's package peer, which has the same names for them.
const (
	OriginUser     Origin = "user"     // other users than root can change it
	OriginReplaced Origin = "replaced" // another file is at the path by now, or none
	OriginSandbox  Origin = "sandbox"  // the process has mounts of its own
	OriginEnded    Origin = "ended"    // the process that connected is gone, and there is no path
	OriginUnknown  Origin = "unknown"
)

// A Candidate is a process that a question may be for.
type Candidate struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // of the process's own choice
}

// WithCode is a method whose code may come with a password. The zero value is none. The
// JSON tags are those of the control socket.
type WithCode struct {
	Method string `json:"method"`
	Digits int    `json:"digits"` // length of the code, 0 when unknown
}

// TakesCode reports whether a code may come with the answer.
func (r Request) TakesCode() bool { return r.Kind == Password && r.WithCode.Method != "" }

// withoutSecret returns r for watchers that only list the prompts.
func (r Request) withoutSecret() Request {
	r.Enrolment = nil
	return r
}

// Errors of a prompt.
var (
	// ErrDenied: the person said no.
	ErrDenied = errors.New("denied by the person")
	// ErrDismissed: the person closed the question without an answer, which is
	// "not now" and no denial. Other prompters keep showing it.
	ErrDismissed = errors.New("closed without an answer")
	// ErrReopened: the person wants the question shown everywhere anew, because its window
	// was closed or is out of sight.
	ErrReopened = errors.New("to be shown anew")
	// ErrTimeout: no answer came before the deadline.
	ErrTimeout = errors.New("nobody answered in time")
	// ErrUnseen: the time was over before the question was shown: others were open.
	ErrUnseen = errors.New("not shown: other questions were open")
	// ErrUnavailable: this prompter, or none at all, can show the request now.
	ErrUnavailable = errors.New("no way to ask")
	// ErrCanceled: prompts were cancelled as a whole (stepup lock, shutdown).
	ErrCanceled = errors.New("question was cancelled")
	// ErrBusy: too many questions are pending.
	ErrBusy = errors.New("too many questions are pending")
	// ErrUnknown: no prompt with this ID is pending.
	ErrUnknown = errors.New("no such question")
	// ErrAnswer: the answer does not fit the request (empty, or not one of the choices).
	ErrAnswer = errors.New("answer does not fit the question")
)

// A ProgramError is an ErrUnavailable: a program of the user was to ask, and did not. The
// way out leads through that program.
type ProgramError struct {
	Program string // its base name
	State   string // how it ended: "exit status 3"
}

func (e *ProgramError) Error() string {
	return fmt.Sprintf("%v: program %s did not ask (%s)", ErrUnavailable, e.Program, e.State)
}

func (e *ProgramError) Unwrap() error { return ErrUnavailable }

// A Prompter shows a request to a person.
type Prompter interface {
	// Prompt blocks until there is an answer, ctx ends or the request cannot be
	// shown. The request has a Deadline. Prompt returns ErrDenied for an explicit no, ErrDismissed when the person
	// closed it, ErrReopened when they ask for its windows, an error wrapping ErrUnavailable when it cannot ask now, and ctx.Err()
	// when ctx ended. In the last case nothing of the question stays on the screen as if
	// it were open. For a Push it only tells, and blocks until ctx ends.
	Prompt(ctx context.Context, r Request) (answer string, err error)
}

// A Notifier is a prompter that may find out, when it shows a question, that the
// person cannot answer there: the window or notification has no field and no button
// for an answer. Showing it is useful all the same, but it is no way to ask.
type Notifier interface {
	// PromptOrNotify is Prompt. It calls notified when the question is in front of the
	// person and no answer to it can come from here: at most once, from the calling
	// goroutine, never for a Push, which takes no answer anyway. It then goes on as
	// Prompt does, until ctx ends or the person denies or closes it. A question cannot
	// be answered when all its prompters have returned or called notified.
	PromptOrNotify(ctx context.Context, r Request, notified func()) (answer string, err error)
}
