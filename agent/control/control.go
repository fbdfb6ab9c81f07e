// Package control is the control socket: status, the pending prompts and their
// answers, lock, and the stream of events, as JSON over HTTP/1.1 on a unix socket
// that only its owner may use. [NewHandler] is the agent's end, [Client] the end
// of the commands. The routes and names are a promise to other programs; a
// passcode or password is in the body of one request and nowhere else.
package control

import (
	"time"

	"github.com/vault-stepup/stepup/prompt"
)

// Status is the answer of GET /v1/status. It holds no secret. Lists are never
// null in JSON.
type Status struct {
	Version     string     `json:"version"`
	PID         int        `json:"pid"`
	Started     time.Time  `json:"started"`
	ConfigFile  string     `json:"config_file"`
	ConfigError string     `json:"config_error"`     // of the last reload; "" when the file is in force
	Reload      *Reload    `json:"reload,omitempty"` // the last one; absent before the first
	Telemetry   string     `json:"telemetry"`        // address of the metrics; "" when they are off
	Listeners   []Listener `json:"listeners"`
	Vaults      []Vault    `json:"vaults"`
	Rules       []Rule     `json:"rules"`
	Tokens      []Token    `json:"tokens"`
	Prompts     []Prompt   `json:"prompts"`
	Attached    int        `json:"attached"` // clients that stream events and answer prompts
	Prompters   []string   `json:"prompters"`
	Cache       Cache      `json:"cache"`
	Audit       *Audit     `json:"audit,omitempty"` // absent without an audit log
	Notes       []string   `json:"notes"`           // what a person should know, one sentence each
	// Suggestions are the paths that probably want a second factor and have no rule,
	// the newest first.
	Suggestions []Suggestion `json:"suggestions"`
}

// A Suggestion is a path on which Vault has refused what its policies grant.
type Suggestion struct {
	Vault      string    `json:"vault"`
	Namespace  string    `json:"namespace"`
	Path       string    `json:"path"` // as a program chose it
	Operations []string  `json:"operations"`
	Count      int       `json:"count"`
	Last       time.Time `json:"last"`
	Rule       string    `json:"rule"` // step_up block to paste; "" where no rule can name the path
}

// A Reload is what became of a changed configuration.
type Reload struct {
	Time    time.Time `json:"time"`
	Changes string    `json:"changes"` // what is new, in one line; "" when it failed
	Error   string    `json:"error"`   // why the configuration from before stays in force; "" when it does not
}

// A Listener is where apps connect.
type Listener struct {
	Network       string `json:"network"` // tcp or unix
	Address       string `json:"address"`
	Vault         string `json:"vault"`
	RequireHeader bool   `json:"require_request_header"`
	Check         string `json:"check"` // how the user at the other end is told
	PID           int    `json:"pid"`   // serves only this process and those below it; 0 serves the user
}

// A Vault is an upstream and whether it answers.
type Vault struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Up      bool   `json:"up"`
	Version string `json:"version"`
	Sealed  bool   `json:"sealed"`
	Error   string `json:"error"`
}

// A Rule is a step_up block.
type Rule struct {
	Name         string   `json:"name"`
	Paths        []string `json:"paths"`
	Capabilities []string `json:"capabilities"` // empty means all
	Namespace    string   `json:"namespace"`    // "" means any
	Methods      []string `json:"methods"`
	Grant        string   `json:"grant"`         // header, token or login; "" where only others approve
	ControlGroup string   `json:"control_group"` // how long the approval of others is waited for; "" means not at all
}

// A Token is a cached step-up token, without the token.
type Token struct {
	Rule      string    `json:"rule"`
	Vault     string    `json:"vault"`
	Namespace string    `json:"namespace"`
	Caller    string    `json:"caller"` // short HMAC of the caller's own token
	Expires   time.Time `json:"expires"`
	Uses      int       `json:"uses"` // left; 0 means any number
}

// Cache is where step-up tokens are kept.
type Cache struct {
	Store  string `json:"store"` // keyring or memory
	State  string `json:"state"`
	Reason string `json:"reason"` // why it is not as configured; ""
}

// An Audit is the state of the audit log.
type Audit struct {
	File  string    `json:"file"`
	Error string    `json:"error"` // why it cannot be written; "" when it can
	Since time.Time `json:"since,omitzero"`
	Lost  int       `json:"lost"` // decisions since then that are not in it
}

// LockResult is the answer of POST /v1/lock.
type LockResult struct {
	Revoked   int      `json:"revoked"`   // tokens ended at Vault
	Forgotten int      `json:"forgotten"` // tokens no longer kept, revoked or not
	Prompts   int      `json:"prompts"`   // prompts cancelled
	Notes     []string `json:"notes"`     // what is left to expire, and why
}

// An Event is one line of GET /v1/events. Its types are those of package prompt,
// and Watching.
type Event struct {
	Time   time.Time `json:"time"`
	Type   string    `json:"type"`
	Prompt *Prompt   `json:"prompt,omitempty"` // nil in Watching
}

// Watching is the type of the first event of every stream: from here on nothing
// is missed.
const Watching = "watching"

// A Prompt is a pending question, in the names of the prompt command.
type Prompt struct {
	ID         string           `json:"id"`
	Kind       prompt.Kind      `json:"kind"`
	Rule       string           `json:"rule"`
	Vault      string           `json:"vault"`
	Namespace  string           `json:"namespace"`
	Path       string           `json:"path"`
	Operation  string           `json:"operation"`
	Method     string           `json:"method"`
	MethodType string           `json:"method_type"`
	Digits     int              `json:"digits"`
	Choices    []string         `json:"choices"`
	Attempt    int              `json:"attempt"`
	Attempts   int              `json:"attempts"`
	Message    string           `json:"message"`
	Number     string           `json:"number"` // of a push: what to tap on the phone
	Requester  prompt.Requester `json:"requester"`
	Deadline   time.Time        `json:"deadline"`
	Queued     int              `json:"queued"`
	WithCode   *prompt.WithCode `json:"with,omitempty"` // of a password: nil when no code may come with it

	Enrolment *prompt.Enrolment `json:"-"` // in events of a stream that attaches
}

// NewPrompt is the JSON form of a request.
func NewPrompt(r prompt.Request) Prompt {
	var withCode *prompt.WithCode
	if r.WithCode.Method != "" {
		withCode = &r.WithCode
	}
	requester := r.Requester
	requester.Chain = notNil(requester.Chain) // JSON has [] for none
	return Prompt{
		ID:         r.ID,
		Kind:       r.Kind,
		Rule:       r.Rule,
		Vault:      r.Vault,
		Namespace:  r.Namespace,
		Path:       r.Path,
		Operation:  r.Operation,
		Method:     r.Method,
		MethodType: r.MethodType,
		Digits:     r.Digits,
		Choices:    notNil(r.Choices),
		Attempt:    r.Attempt,
		Attempts:   r.Attempts,
		Message:    r.Message,
		Number:     r.Number,
		Requester:  requester,
		Deadline:   r.Deadline,
		Queued:     r.Queued,
		WithCode:   withCode,
		Enrolment:  r.Enrolment,
	}
}

// Request is the prompt as prompters take it, for a client that shows it itself.
func (p Prompt) Request() prompt.Request {
	var withCode prompt.WithCode
	if p.WithCode != nil {
		withCode = *p.WithCode
	}
	return prompt.Request{
		ID:         p.ID,
		Kind:       p.Kind,
		Rule:       p.Rule,
		Vault:      p.Vault,
		Namespace:  p.Namespace,
		Path:       p.Path,
		Operation:  p.Operation,
		Method:     p.Method,
		MethodType: p.MethodType,
		Digits:     p.Digits,
		Choices:    p.Choices,
		Attempt:    p.Attempt,
		Attempts:   p.Attempts,
		Message:    p.Message,
		Number:     p.Number,
		Requester:  p.Requester,
		Deadline:   p.Deadline,
		Queued:     p.Queued,
		WithCode:   withCode,
		Enrolment:  p.Enrolment,
	}
}

// NewPrompts is the JSON form of requests, in their order.
func NewPrompts(rs []prompt.Request) []Prompt {
	ps := make([]Prompt, 0, len(rs))
	for _, r := range rs {
		ps = append(ps, NewPrompt(r))
	}
	return ps
}

// complete makes every list of s a list in JSON.
func (s Status) complete() Status {
	s.Listeners = notNil(s.Listeners)
	s.Vaults = notNil(s.Vaults)
	s.Tokens = notNil(s.Tokens)
	s.Prompts = notNil(s.Prompts)
	s.Prompters = notNil(s.Prompters)
	s.Notes = notNil(s.Notes)
	s.Suggestions = notNil(s.Suggestions)
	rules := make([]Rule, 0, len(s.Rules))
	for _, r := range s.Rules {
		r.Paths, r.Capabilities, r.Methods = notNil(r.Paths), notNil(r.Capabilities), notNil(r.Methods)
		rules = append(rules, r)
	}
	s.Rules = rules
	return s
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
