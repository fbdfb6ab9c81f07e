// Package control is the control socket: status, the pending prompts and their
// answers, lock, and the stream of events, as JSON over HTTP/1.1 on a unix socket
// that only its owner may use. [NewHandler] is the agent's end, [Client] the end
// of the commands. The routes and names are a promise to other programs; a
// passcode or password is in the body of one request and nowhere else.
package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vault-stepup/stepup/cache/secret"
	"github.com/vault-stepup/stepup/prompt"
)

// Status is the answer of GET /v1/status. It holds no secret. Lists are never
// null in JSON.
type Status struct {
	Version     string           `json:"version"`
	PID         int              `json:"pid"`
	Started     time.Time        `json:"started"`
	ConfigFile  string           `json:"config_file"`
	ConfigFiles []string         `json:"config_files"`       // all that were read, in their order
	ConfigError string           `json:"config_error"`       // of the last reload; "" when the file is in force
	Reload      *Reload          `json:"reload,omitempty"`   // the last one; absent before the first
	Telemetry   string           `json:"telemetry"`          // address of the metrics; "" when they are off
	Textfile    string           `json:"textfile,omitempty"` // with the metrics, for node_exporter
	Listeners   []Listener       `json:"listeners"`
	Vaults      []Vault          `json:"vaults"`
	Rules       []Rule           `json:"rules"`
	Tokens      []Token          `json:"tokens"`
	Prompts     []prompt.Request `json:"prompts"`
	Attached    int              `json:"attached"` // clients that stream events and answer prompts
	Prompters   []string         `json:"prompters"`
	// CannotAsk says what those of the prompters lack that could show nothing now on the
	// agent's own desktop; a program may bring its screen with it.
	CannotAsk map[string]string `json:"cannot_ask,omitempty"`
	Cache     Cache             `json:"cache"`
	Audit     *Audit            `json:"audit,omitempty"` // absent without an audit log
	Notes     []string          `json:"notes"`           // what a person should know, one sentence each
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
	Name      string `json:"name"`
	Address   string `json:"address"`
	Namespace string `json:"namespace"` // of requests that name none; "" is root
	Up        bool   `json:"up"`
	Version   string `json:"version"`
	Sealed    bool   `json:"sealed"`
	Error     string `json:"error"`
	// Express is how many requests took the express lane since the agent was started.
	Express int64 `json:"express_requests"`
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
	Uses      int       `json:"uses"`               // left; 0 means any number
	Scope     string    `json:"scope,omitempty"`    // the terminal, application or program that it is for; "" is all of the caller's
	Keep      string    `json:"keep,omitempty"`     // lock where the person wanted it kept until then, once for one request more
	LastUse   *Use      `json:"last_use,omitempty"` // since the agent was started; absent where there was none
}

// A Use is a request that a step-up token served.
type Use struct {
	Time    time.Time `json:"time"`
	PID     int       `json:"pid"`     // of the program; 0 when unknown
	Program string    `json:"program"` // its name, as the kernel has it; "" when unknown
}

// Cache is where step-up tokens are kept.
type Cache struct {
	Store  string `json:"store"` // keyring, kernel or memory
	State  string `json:"state"`
	Reason string `json:"reason"` // why it is not as configured; ""
}

// An Audit is the state of the audit log.
type Audit struct {
	File  string    `json:"file"`            // "" where only servers get it
	Place string    `json:"place,omitempty"` // that cannot be written: the file, journald or syslog; "" when all can
	Error string    `json:"error"`           // why it cannot be written; "" when it can
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

// Watching is the type of the first event of every stream: from here on nothing
// is missed. It has no prompt.
const Watching = "watching"

// Resumed is the answer of POST /v1/resume.
type Resumed struct {
	Rules  int `json:"rules"`  // that are asked about again; 0 when none was muted
	Pauses int `json:"pauses"` // cool-downs that have ended
}

// A TooSoonError refuses a resume: there was one a moment ago.
type TooSoonError struct {
	Wait time.Duration // until the next one counts
}

func (e *TooSoonError) Error() string {
	return fmt.Sprintf("questions were resumed less than ten minutes ago, and it counts once in that time; try again in %s",
		e.Wait.Round(time.Second))
}

// A Wanted is the listener that a client asks for.
type Wanted struct {
	Vault string `json:"vault"` // "" is the only one
	// Network is tcp, or unix for clients whose process cannot be found by a TCP
	// connection. "" is tcp.
	Network string `json:"network"`
}

// A Lease is a listener for one process and those that it starts. POST
// /v1/listeners {"vault","network"} answers with it and keeps the answer open: the listener
// ends with the connection, and so with the process that asked for it, or by
// DELETE /v1/listeners/{id}.
type Lease struct {
	ID      string `json:"id"`
	Network string `json:"network"` // tcp or unix
	Address string `json:"address"` // host:port, or the path of the socket; plain HTTP
	// Done is closed when the listener has ended; nil on a client's side.
	Done <-chan struct{} `json:"-"`
}

// A Leaser opens listeners for one command each.
type Leaser interface {
	// Listeners are all that are open, those of the configuration first. It does
	// not ask any vault.
	Listeners() []Listener
	// Lease opens a listener for the peer of ctx and the processes below it. It
	// returns an error wrapping ErrNoVault or ErrNoPeer. The listener stays until
	// Release.
	Lease(ctx context.Context, w Wanted) (Lease, error)
	// Release ends a listener and reports whether there was one.
	Release(id string) bool
}

// An Obtain asks for a step-up token before any request needs it: POST
// /v1/stepup {"rule","vault","namespace","token"}. The answer comes when the
// person has decided. The token is the caller's own; it is in the body of this one
// request, on a socket that only its owner may use, and nowhere else.
type Obtain struct {
	Rule      string        `json:"rule"`
	Vault     string        `json:"vault"`     // "" is the only one
	Namespace string        `json:"namespace"` // "" is the one of the vault block
	Token     secret.Secret `json:"token"`
}

// An Obtained is the outcome of an Obtain.
type Obtained struct {
	Outcome string    `json:"outcome"`          // a word of the Stepup-Outcome header
	Message string    `json:"message"`          // for the person; "" when the outcome is a yes
	Expires time.Time `json:"expires,omitzero"` // of the token that is there
	Scope   string    `json:"scope,omitempty"`  // its scope, as in Token
	// Confirm: before each request that the token would serve, the person is asked for a yes.
	Confirm bool `json:"confirm,omitempty"`
}

// OK reports whether the token is there.
func (o Obtained) OK() bool { return o.Outcome == "approved" || o.Outcome == "cached" }

// An Explain asks what would happen to a request: POST /v1/explain
// {"path","operation","namespace","vault","token"}. The token is the caller's own,
// "" for none; it is in the body of this one request and nowhere else.
type Explain struct {
	Path      string        `json:"path"`      // as for a request, without /v1/; cleaned by the agent
	Operation string        `json:"operation"` // a capability word; "" is read
	Namespace string        `json:"namespace"` // "" is the one of the vault block
	Vault     string        `json:"vault"`     // "" is the only one
	Token     secret.Secret `json:"token"`
}

// An Explanation is the answer. Without an agent it can be made from a
// configuration, less what only an agent or Vault knows.
type Explanation struct {
	Agent     bool   `json:"agent"` // it comes from a running agent
	Vault     string `json:"vault"`
	Namespace string `json:"namespace"` // of header and path together, where that is known
	Path      string `json:"path"`      // as Vault would check it there
	Operation string `json:"operation"`

	Rules     []RuleReason `json:"rules"`     // of this vault, in file order
	Rule      string       `json:"rule"`      // the one that is taken; "" for none
	Preflight bool         `json:"preflight"` // it is taken for the sake of the path behind sys/internal/ui/mounts/
	KeptOnly  bool         `json:"kept_only"` // so, but only with a token that is there: the rule does not cover that path itself
	Nearby    string       `json:"nearby"`    // a path with a rule that may be meant; ""
	Mount     *Mount       `json:"mount"`     // the secrets engine that the path is in; null where it is not known
	KV2Path   string       `json:"kv2_path"`  // the path as a KV store of version 2 has it, where this one is or may be none of it; ""
	Login     bool         `json:"login"`     // a login, which is completed where Vault holds it
	Methods   []Method     `json:"methods"`   // of the rule, and of its Sentinel policies
	Grant     Grant        `json:"grant"`     // of the rule

	Caller            string   `json:"caller"`             // short HMAC of the token; "" without one
	Capabilities      []string `json:"capabilities"`       // of the token, by sys/capabilities-self
	CapabilitiesError string   `json:"capabilities_error"` // why they are not known
	Granted           bool     `json:"granted"`            // they allow the operation

	Cached  *Token `json:"cached"`  // the step-up token that would be used; null for none
	Paused  string `json:"paused"`  // why no person would be asked now; ""
	Waiting bool   `json:"waiting"` // requests of this caller wait for an approval
}

// A Mount is a secrets engine.
type Mount struct {
	Path    string `json:"path"`
	Type    string `json:"type"`
	Version string `json:"version"` // of a KV store: 1 or 2; else ""
}

// A RuleReason is a rule and what it has to do with the request: matches, shadowed
// (by an earlier one), path, namespace or capabilities.
type RuleReason struct {
	Rule
	Why string `json:"why"`
}

// A Method is an mfa_method block.
type Method struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Passcode bool   `json:"passcode"` // false: Vault pushes
	OrPush   bool   `json:"or_push"`  // the person chooses between a code and a push
}

// A Grant is how a rule's factor becomes an answer.
type Grant struct {
	Kind         string `json:"kind"` // header, token or login; "" where only others approve
	Path         string `json:"path"` // of a token or login grant
	Eager        bool   `json:"eager"`
	AsksFirst    bool   `json:"asks_first"`    // header: the person is asked before the request is sent
	ControlGroup string `json:"control_group"` // as in Rule
	Approvers    string `json:"approvers"`
}

// Complete makes every list of e a list in JSON.
func (e Explanation) Complete() Explanation {
	e.Methods, e.Capabilities, e.Rules = notNil(e.Methods), notNil(e.Capabilities), slices.Clone(notNil(e.Rules))
	for i := range e.Rules {
		e.Rules[i].Rule = e.Rules[i].complete()
	}
	return e
}

// Errors that both ends of the socket know.
var (
	// ErrNoVault: the agent has no vault of that name.
	ErrNoVault = errors.New("no such vault in the agent's configuration")
	// ErrNoPeer: the system does not say which process is asking.
	ErrNoPeer = errors.New("this system does not tell which process is asking")
	// ErrNoRule: the vault has no rule of that name.
	ErrNoRule = errors.New("no such rule for this vault in the agent's configuration")
	// ErrHeaderGrant: the rule's factor, or the approval of others, goes with each
	// request, so nothing can be got beforehand.
	ErrHeaderGrant = errors.New("the rule has a header grant or none: each request is asked about by itself")
	// ErrProgramScope: the rule's step-ups are for one program each, and no program asks yet.
	ErrProgramScope = errors.New("the rule's step-ups are for one program each, and serve only the one that causes the question")
	// ErrNoPath: the text names no path of Vault's API, or the operation is none.
	ErrNoPath = errors.New("this is no path of Vault's API, or no operation")
)

// complete makes every list of s a list in JSON.
func (s Status) complete() Status {
	s.Listeners, s.Vaults, s.Tokens = notNil(s.Listeners), notNil(s.Vaults), notNil(s.Tokens)
	s.ConfigFiles = notNil(s.ConfigFiles)
	s.Prompters, s.Notes, s.Suggestions = notNil(s.Prompters), notNil(s.Notes), notNil(s.Suggestions)
	s.Prompts, s.Rules = completePrompts(s.Prompts), slices.Clone(notNil(s.Rules))
	for i := range s.Rules {
		s.Rules[i] = s.Rules[i].complete()
	}
	return s
}

func (r Rule) complete() Rule {
	r.Paths, r.Capabilities, r.Methods = notNil(r.Paths), notNil(r.Capabilities), notNil(r.Methods)
	return r
}

func completePrompts(all []prompt.Request) []prompt.Request {
	all = slices.Clone(notNil(all))
	for i := range all {
		all[i] = completePrompt(all[i])
	}
	return all
}

func completePrompt(r prompt.Request) prompt.Request {
	r.Choices, r.Requester.Chain = notNil(r.Choices), notNil(r.Requester.Chain)
	return r
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
