package rule

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// A GrantKind is the way in which a second factor becomes an answer.
type GrantKind string

// The grants of a step_up block.
const (
	NoGrant     GrantKind = ""       // no factor of one's own: only approvals are waited for
	HeaderGrant GrantKind = "header" // the same request again, with X-Vault-MFA
	TokenGrant  GrantKind = "token"  // a short token from a guarded path
	LoginGrant  GrantKind = "login"  // a short token from a login with Login MFA
)

// A Grant says how to get the answer of a guarded path.
type Grant struct {
	Kind            GrantKind
	Path            string        // token: where to mint; login: where to log in
	Policies        []string      // token
	TTL             time.Duration // token; 0 leaves it to Vault
	NumUses         int           // token; 0 means any number
	NoParent        bool          // token
	Eager           bool          // token and login: step up before the first 403
	Password        string        // login: "prompt" or "keyring"; "" with PasswordCommand
	PasswordCommand []string      // login
	MaxTTL          time.Duration // token and login; 0 means cache.max_ttl alone
	RevokeOnStop    bool          // token and login
}

// Mints reports whether a grant gets a token, which later requests can use.
func (g Grant) Mints() bool { return g.Kind == TokenGrant || g.Kind == LoginGrant }

// A ControlGroup says what to do with an answer that Vault holds back until
// other people have approved the request (Vault Enterprise, OpenBao).
type ControlGroup struct {
	Timeout   time.Duration // how long their approval is waited for; 0 means not at all
	Approvers string        // whom to ask, in the words of the configuration; may be ""
}

// A Rule is one step_up block.
type Rule struct {
	Name         string
	Vault        string // only for this vault; "" means for all
	Paths        []Pattern
	Capabilities []Operation // empty means all
	Namespace    string      // "" means any; "root" means root only
	Methods      []string    // names of mfa_method blocks; every one must be satisfied
	Sentinel     []Policy    // what denials by these policies call for; other ones then call for nothing
	Grant        Grant
	ControlGroup ControlGroup
	Silent       bool // nobody is asked; a cached token still serves
}

// Rules are tried in file order; the first that matches wins.
type Rules []Rule

// A Match is a request with the rule that it falls under.
type Match struct {
	Rule    *Rule
	Request Request
	Once    bool // the request's body is too large to be sent twice

	// Same names everything that makes two requests of one caller the same, so that
	// they may share one answer; "" shares with none.
	Same string
	// Denied are the Sentinel policies that refused the first try, "" for one that
	// has no name; nil when something else refused it.
	Denied []string
	// Open is a path that needs no token, so that capabilities say nothing of it: a
	// login, or the look at a mount before a read, that a Sentinel policy guards.
	Open bool

	// Print tells one request of a caller from another: a hash of method, target and
	// body. "" where that is not known.
	Print string
}

// Match finds the rule for r. Callers own neither the rule nor its slices.
func (rs Rules) Match(r Request) (Match, bool) {
	for i := range rs {
		if rs[i].matches(r) {
			return Match{Rule: &rs[i], Request: r}, true
		}
	}
	return Match{}, false
}

// Has reports whether the rule of that name is there and is as is says.
func (rs Rules) Has(name string, is func(Rule) bool) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Name == name && is(r) })
}

func (r *Rule) matches(q Request) bool { return r.covers(q.Operation) && r.why(q) == Matches }

// readings are the ways to read the namespace and path of a request. Vault
// Enterprise takes the namespace from the front of the path, too: kv/data/x in ns1
// is also ns1/kv/data/x.
func (r Request) readings() iter.Seq2[string, string] {
	return func(yield func(namespace, path string) bool) {
		namespace, path := r.Namespace, r.Path
		for yield(namespace, path) {
			segment, rest, ok := strings.Cut(path, "/")
			if !ok || rest == "" || segment == "" || reserved(segment) {
				return
			}
			path = rest
			namespace = strings.Trim(namespace+"/"+segment, "/")
		}
	}
}

// covers knows that a POST may turn out to be a create.
func (r *Rule) covers(op Operation) bool {
	return len(r.Capabilities) == 0 || slices.Contains(r.Capabilities, op) ||
		(op == Update && slices.Contains(r.Capabilities, Create))
}

// matchesPath tries a list without its slash as well (vault/acl.go, AllowOperation).
func (r *Rule) matchesPath(path string, op Operation) bool {
	return slices.ContainsFunc(r.Paths, func(p Pattern) bool {
		return p.Match(path) || (op == List && p.Match(strings.TrimSuffix(path, "/")))
	})
}

// reserved are the names that no namespace can have, so that sys/policies/x is
// never taken for policies/x in a namespace called sys
// (developer.hashicorp.com/vault/docs/enterprise/namespaces).
func reserved(segment string) bool {
	switch segment {
	case "root", "sys", "audit", "auth", "cubbyhole", "identity":
		return true
	}
	return false
}
