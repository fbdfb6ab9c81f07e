package devvault

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A Sentinel is a governing policy of Vault Enterprise whose only rule is that
// second factors are valid: main = rule { mfa.methods.X.valid and … }.
type Sentinel struct {
	Name    string   // without its namespace
	Paths   []string // of an endpoint governing policy, as in a policy; none makes it a role governing one, for all requests with a token
	Methods []string // names of methods in the root namespace
	NoTrace bool     // as with disable_sentinel_trace
	Old     bool     // in the words of Vault before namespaces
}

// AddSentinel adds a policy, replacing one of the same name.
func (n *Namespace) AddSentinel(p Sentinel) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if n.sentinels == nil {
		n.sentinels = make(map[string]Sentinel)
	}
	n.sentinels[p.Name] = p
}

// govern asks the Sentinel policies about a request that the ACL lets through. The factors
// are those of entity. A login is refused with 400, as are the other paths that need no
// token (vault/request_handling.go, handleLoginRequest).
func (s *Server) govern(r *request, entity string, status int) error {
	s.mu.Lock()
	var policies []Sentinel
	for _, p := range r.ns.sentinels {
		if p.governs(r) {
			policies = append(policies, p)
		}
	}
	s.mu.Unlock()
	var texts []string
	old := false
	for _, p := range policies {
		for _, name := range p.Methods {
			if err := s.factorOnce(r, entity, name); err != nil {
				s.cfg.Log.Error("validation failed", "method", name, "policy", p.Name, "error", err)
				texts, old = append(texts, p.denial(r.ns.path)), old || p.Old
				break
			}
		}
	}
	switch {
	case len(texts) == 0:
		return nil
	case old:
		return refuse(status, "%s", "1 error occurred:\n\n* "+strings.Join(texts, "\n* "))
	}
	return refuse(status, "%s", multiError(append(texts, textBareDenied)...))
}

func (p Sentinel) governs(r *request) bool {
	if len(p.Paths) == 0 {
		return r.token != nil
	}
	for _, path := range p.Paths {
		if matchPath(path, r.path) {
			return true
		}
	}
	return false
}

// denial is what Vault says (printed in three public write-ups; the old form in two).
func (p Sentinel) denial(ns string) string {
	kind, name, at := "egp", "root/"+ns+p.Name, fmt.Sprintf("root/%s%s:4:1", ns, p.Name)
	if len(p.Paths) == 0 {
		kind = "rgp"
	}
	if p.Old {
		name, at = p.Name, "byte offset 202"
	}
	text := fmt.Sprintf("%s standard policy %q evaluation resulted in denial.\n\nThe specific error was:\n<nil>\n", kind, name)
	if !p.NoTrace {
		text += fmt.Sprintf("\nA trace of the execution for policy %q is available:\n\nResult: false\n\nDescription: <none>\n\nRule \"main\" (%s) = false\n", name, at)
	}
	if !p.Old {
		text = strings.TrimSuffix(text, "\n")
	}
	return text
}

// factorOnce validates a method at most once for a request: the result counts for
// every policy (developer.hashicorp.com/vault/docs/enterprise/sentinel/properties).
func (s *Server) factorOnce(r *request, entity, name string) error {
	if err, done := r.validated[name]; done {
		return err
	}
	if r.validated == nil {
		r.validated = make(map[string]error)
	}
	err := s.stepUpFactor(r, entity, name)
	r.validated[name] = err
	return err
}

// governOpen is govern for the look at a mount before a read of it, which needs no
// token but has one (seen: the 400 of an RGP to `vault kv get`).
func (s *Server) governOpen(r *request) error {
	s.mu.Lock()
	t, err := s.tokenLocked(r.tokenID)
	s.mu.Unlock()
	if err != nil || !strings.HasPrefix(r.path, "sys/internal/ui/mounts/") || slices.Contains(t.policies, "root") {
		return nil
	}
	r.token = t
	return s.govern(r, t.entity, http.StatusBadRequest)
}

// governLogin is govern for a login, before Vault looks at the password. Whose
// factors count is taken from the name in the path.
func (s *Server) governLogin(r *request, m *mount, name string) error {
	s.mu.Lock()
	entity := m.users[name].entity
	s.mu.Unlock()
	return s.govern(r, entity, http.StatusBadRequest)
}
