package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// A Scope is what a step-up token serves besides the requests with the caller's own token.
type Scope string

// The scopes of a token or login grant.
const (
	CallerScope   Scope = "caller"   // every program of the user that has the caller's token
	TerminalScope Scope = "terminal" // only one terminal session or desktop application
	ProgramScope  Scope = "program"  // only one executable
)

// A Grant says how to get the answer of a guarded path. The tags here and below are
// the grammar of package config, which explains them.
type Grant struct {
	Kind            GrantKind     `hcl:"kind,label" label:"\"header\", \"token\" or \"login\""`
	Path            string        `hcl:"path" only:"token login"` // token: where to mint; login: where to log in
	Policies        []string      `hcl:"policies,optional" only:"token"`
	TTL             time.Duration `hcl:"ttl,optional" only:"token" max:"24h"`          // 0 leaves it to Vault
	NumUses         int           `hcl:"num_uses,optional" only:"token" max:"1000000"` // 0 means any number
	NoParent        bool          `hcl:"no_parent,optional" only:"token"`
	Password        string        `hcl:"password,optional" only:"login"` // "prompt" or "keyring"; "" with PasswordCommand
	PasswordCommand []string      `hcl:"command,optional" only:"login" form:"program"`
	Eager           bool          `hcl:"eager,optional" only:"token login"`                                 // step up before the first 403
	MaxTTL          time.Duration `hcl:"max_ttl,optional" only:"token login" max:"24h"`                     // 0 means cache.max_ttl alone
	Scope           Scope         `hcl:"scope,optional" only:"token login" words:"terminal program caller"` // "" is CallerScope
	RevokeOnStop    bool          `hcl:"revoke_on_stop,optional" only:"token login"`
	FixedTTL        bool          // TTL is locked by a shared configuration: no choice of the person exceeds it
}

// Life is how long a token is kept at most, where nothing may be kept longer than most.
func (g Grant) Life(most time.Duration) time.Duration { return shortest(g.Limit(most), g.TTL) }

// Limit is the longest that the person may choose in the place of [Grant.Life].
func (g Grant) Limit(most time.Duration) time.Duration {
	if g.FixedTTL {
		most = shortest(most, g.TTL)
	}
	return shortest(most, g.MaxTTL)
}

// shortest is d, or limit where that is set and shorter.
func shortest(d, limit time.Duration) time.Duration {
	if limit > 0 {
		return min(d, limit)
	}
	return d
}

// Mints reports whether a grant gets a token, which later requests can use.
func (g Grant) Mints() bool { return g.Kind == TokenGrant || g.Kind == LoginGrant }

// A ControlGroup says what to do with an answer that Vault holds back until
// other people have approved the request (Vault Enterprise, OpenBao).
type ControlGroup struct {
	Timeout   time.Duration `hcl:"timeout,optional" max:"24h"`   // how long their approval is waited for; 0 means not at all
	Approvers string        `hcl:"approvers,optional" max:"100"` // whom to ask, in the words of the configuration; may be ""
}

// A Rule is one step_up block.
type Rule struct {
	Name         string       `hcl:"name,label" label:"a name"`
	Paths        []Pattern    `hcl:"paths" min:"1"`
	Capabilities []Operation  `hcl:"capabilities,optional" words:"create read update patch delete list scan"` // empty means all
	Namespace    string       `hcl:"namespace,optional" form:"namespace"`                                     // "" means any; "root" means root only
	Methods      []string     `hcl:"methods,optional" names:"mfa_method"`                                     // every one must be satisfied
	Vault        string       `hcl:"vault,optional" names:"vault"`                                            // only for this vault; "" means for all
	Silent       bool         `hcl:"prompt,optional" words:"ask never"`                                       // no prompts; a cached token still serves
	Confirm      bool         `hcl:"confirm,optional"`                                                        // a yes before each use of a token that is there
	Grant        Grant        `hcl:"grant,block"`
	Sentinel     []Policy     `hcl:"sentinel,block"` // what denials by these policies call for; other ones then call for nothing
	ControlGroup ControlGroup `hcl:"control_group,block"`
}

// TokenFingerprint stands for everything that a token of r owes its powers to, and for
// the factors that it cost.
func (r Rule) TokenFingerprint() string {
	g := r.Grant
	text := fmt.Sprintf("%q %q %q %d %t %q", g.Kind, g.Path, g.Policies, g.NumUses, g.NoParent, r.Methods)
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Rules are tried in file order; the first that matches wins.
type Rules []Rule

// A Match is a request with the rule that it falls under.
type Match struct {
	Rule     *Rule
	Request  Request // in its effective namespace, with the path that it has there
	NoReplay bool    // the request's body is too large to be sent twice

	// Preflight is a look at the mount of Request; see [Rules.MatchPreflight].
	Preflight bool
	// Kept are the rules, Rule among them, whose tokens may serve a preflight that is
	// about none of their own paths: only tokens that are there already. A question for
	// one is never asked, and none is made.
	Kept []Match

	// Proven: Vault's refusal of the first try is one that only a live token gets.
	Proven bool

	// ShareKey names everything that makes two requests of one caller the same, so that
	// they may share one answer; "" shares with none.
	ShareKey string
	// DeniedBy are the Sentinel policies that refused the first try, "" for one that
	// has no name; nil when something else refused it.
	DeniedBy []string
	// Unauthenticated is a path that needs no token, so that capabilities say nothing of it: a
	// login, or the look at a mount before a read, that a Sentinel policy guards.
	Unauthenticated bool

	// Fingerprint tells one request of a caller from another: a hash of method, target and
	// body. "" where that is not known.
	Fingerprint string
}

// Match finds the rule for q. The rule and its slices are not the caller's to change.
func (rs Rules) Match(q Request) (Match, bool) { return rs.matchBy(rs.find, q) }

// A finder returns the index of the first rule that takes a request, and the request as
// that rule sees it; the number of rules where there is none.
type finder func(Request) (int, Request)

func (rs Rules) matchBy(find finder, q Request) (Match, bool) {
	i, in := find(q)
	if i == len(rs) {
		return Match{}, false
	}
	return Match{Rule: &rs[i], Request: in}, true
}

// find is a [finder] that tries one rule after the other.
func (rs Rules) find(q Request) (i int, in Request) {
	for i := range rs {
		if in, ok := rs[i].matches(q); ok {
			return i, in
		}
	}
	return len(rs), Request{}
}

// Has reports whether the rule of that name is there and is as is says.
func (rs Rules) Has(name string, is func(Rule) bool) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Name == name && is(r) })
}

// matches is q as r sees it, where r takes it.
func (r *Rule) matches(q Request) (in Request, ok bool) {
	if !r.covers(q.Operation) {
		return Request{}, false
	}
	in, ok = r.view(q)
	return in, ok && r.takes(in)
}

// Hides reports whether r takes every request that other would take, so that other is of no use
// behind it. It may be wrong about one that is hidden, and never about one that is not.
func (r *Rule) Hides(other *Rule) bool {
	switch {
	case r.Vault != "" && r.Vault != other.Vault, Namespace(r.Namespace) != Namespace(other.Namespace), (r.Namespace == "") != (other.Namespace == ""):
		return false
	case slices.Contains(other.Capabilities, Scan) && !slices.Contains(r.Capabilities, Scan): // see takes
		return false
	case len(r.Capabilities) > 0 && len(other.Capabilities) == 0:
		return false
	}
	if len(r.Capabilities) > 0 && slices.ContainsFunc(other.Capabilities, func(op Operation) bool { return !slices.Contains(r.Capabilities, op) }) {
		return false
	}
	return !slices.ContainsFunc(other.Paths, func(q Pattern) bool {
		return !slices.ContainsFunc(r.Paths, func(p Pattern) bool { return p.Contains(q) })
	})
}

// covers knows that a POST may turn out to be a create.
func (r *Rule) covers(op Operation) bool {
	return len(r.Capabilities) == 0 || slices.Contains(r.Capabilities, op) ||
		(op == Update && slices.Contains(r.Capabilities, Create))
}

// takes reports whether one of r's paths is that of q. A scan by query may be a read:
// where the rule does not say that its server knows scans, both must be meant.
func (r *Rule) takes(q Request) bool {
	if q.ByQuery && !slices.Contains(r.Capabilities, Scan) {
		path := q.Path
		if q.Slashed {
			path = strings.TrimSuffix(path, "/")
		}
		if !r.matchesPath(path, Read) {
			return false
		}
	}
	return r.matchesPath(q.Path, q.Operation)
}

// matchesPath tries a list without its slash as well (vault/acl.go, AllowOperation).
func (r *Rule) matchesPath(path string, op Operation) bool {
	return slices.ContainsFunc(r.Paths, func(p Pattern) bool {
		return p.Match(path) || op.lists() && p.Match(strings.TrimSuffix(path, "/"))
	})
}

// A Policy is a Sentinel policy of Vault Enterprise that asks for second factors.
type Policy struct {
	Name    string   `hcl:"name,label" label:"the name of the policy in Vault"` // as in Vault's denial, with or without "root/"
	Methods []string `hcl:"methods" names:"mfa_method"`                         // every one must be satisfied
}

// Is reports whether a name that Vault gives means p. Vault before namespaces
// puts no "root/" in front of it, and people leave it out.
func (p Policy) Is(name string) bool {
	return strings.TrimPrefix(p.Name, "root/") == strings.TrimPrefix(name, "root/")
}

// Wants are the methods that a refusal calls for; denied is as in [Match].
// None means that no factor of this rule helps: it names Sentinel policies, and
// denied are others. A rule that names none takes every refusal for its methods,
// because a policy that asks for a factor reads like any other.
func (r *Rule) Wants(denied []string) []string {
	if len(denied) == 0 || len(r.Sentinel) == 0 {
		return r.Methods
	}
	var all []string
	for _, p := range r.Sentinel {
		if slices.ContainsFunc(denied, p.Is) {
			all = Join(all, p.Methods)
		}
	}
	return all
}

// Groups are the methods that Vault may want at once: those of the rule, and
// those of each of its Sentinel policies.
func (r *Rule) Groups() [][]string {
	var all [][]string
	if len(r.Methods) > 0 {
		all = append(all, r.Methods)
	}
	for _, p := range r.Sentinel {
		all = append(all, p.Methods)
	}
	return all
}

// Join gives every name of the lists once, in order.
func Join(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		for _, s := range list {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}
