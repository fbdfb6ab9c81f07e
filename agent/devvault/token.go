package devvault

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A token is a service token, wrapping tokens included.
type token struct {
	id, accessor string
	ns           *Namespace
	display      string
	path         string // where it was made
	policies     []string
	entity       string // ID; "" means none
	okta         *Okta  // of a login there: to renew it is to push again
	meta         map[string]string
	parent       string // ID; revoked with it unless orphan
	orphan       bool

	created   time.Time
	ttl       time.Duration // at creation or last renewal
	expires   time.Time     // zero means never
	maxTTL    time.Duration // 0 means none
	renewed   time.Time     // zero means never
	renewable bool

	uses      int // 0 means no limit, -1 that this is the last request
	cubbyhole map[string]map[string]any
	wrapping  *wrapping // of a wrapping token
}

// tokenLocked is the live token with this ID, or the 403 that Vault gives.
func (s *Server) tokenLocked(id string) (*token, error) {
	if id == "" {
		return nil, refuse(http.StatusForbidden, textBareDenied)
	}
	t := s.state.tokens[id]
	if t != nil && !t.expires.IsZero() && !s.now().Before(t.expires) {
		s.revokeLocked(t)
		t = nil
	}
	if t == nil {
		return nil, refuse(http.StatusForbidden, textInvalidToken)
	}
	return t, nil
}

// spendLocked takes one use, and returns what to do when the request has been answered.
func (s *Server) spendLocked(t *token) (after func()) {
	switch {
	case t.uses > 1:
		t.uses--
	case t.uses == 1:
		t.uses = -1
		return func() { s.revokeLocked(t) }
	}
	return func() {}
}

func (s *Server) revokeLocked(t *token) {
	delete(s.state.tokens, t.id)
	for _, child := range s.state.tokens {
		if child.parent == t.id && !child.orphan {
			s.revokeLocked(child)
		}
	}
}

// issueLocked stores a token and is the auth block that tells about it.
func (s *Server) issueLocked(t *token) *authBlock {
	t.id, t.accessor, t.created = newTokenID(), newAccessor(), s.now()
	if t.ttl > 0 {
		t.expires = t.created.Add(t.ttl)
	}
	s.state.tokens[t.id] = t
	return t.auth()
}

func (t *token) auth() *authBlock {
	return &authBlock{
		ClientToken: t.id, Accessor: t.accessor, Policies: t.policies, TokenPolicies: t.policies,
		Metadata: t.meta, LeaseDuration: int(t.ttl.Seconds()), Renewable: t.renewable,
		EntityID: t.entity, TokenType: "service", Orphan: t.orphan, NumUses: t.uses,
	}
}

func (s *Server) tokenBackendLocked(r *request, rest string) (*response, error) {
	switch {
	case rest == "lookup-self" && r.op == opRead:
		return &response{data: s.lookupLocked(r.token), mountType: "token"}, nil
	case rest == "revoke-self" && r.op == opUpdate:
		s.revokeLocked(r.token)
		return nil, nil
	case slices.Contains([]string{"renew-self", "renew", "renew-accessor"}, rest) && r.op == opUpdate:
		return s.renewLocked(r)
	case rest == "create" && r.op == opUpdate:
		return s.createLocked(r, "")
	case strings.HasPrefix(rest, "create/") && r.op == opUpdate:
		return s.createLocked(r, strings.TrimPrefix(rest, "create/"))
	case slices.Contains([]string{"lookup-self", "revoke-self", "renew-self", "renew", "renew-accessor", "create"}, rest):
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	default:
		return nil, refuse(http.StatusNotFound, textNoPath)
	}
}

func (s *Server) lookupLocked(t *token) map[string]any {
	data := map[string]any{
		"accessor": t.accessor, "creation_time": t.created.Unix(), "creation_ttl": int(t.ttl.Seconds()),
		"display_name": t.display, "entity_id": t.entity, "expire_time": nil,
		"explicit_max_ttl": int(t.maxTTL.Seconds()), "id": t.id, "issue_time": rfc3339(t.created),
		"meta": t.meta, "num_uses": t.uses, "orphan": t.orphan, "path": t.path, "policies": t.policies,
		"renewable": t.renewable, "ttl": 0, "type": "service",
	}
	if !t.expires.IsZero() {
		data["expire_time"] = rfc3339(t.expires)
		data["ttl"] = int(t.expires.Sub(s.now()).Seconds())
	}
	if !t.renewed.IsZero() {
		data["last_renewal"], data["last_renewal_time"] = rfc3339(t.renewed), t.renewed.Unix()
	}
	if t.ns.path != "" {
		data["namespace_path"] = t.ns.path
	}
	return data
}

// renewedLocked is the token that a request renews: its own, or the one in its body.
func (s *Server) renewedLocked(r *request) (*token, error) {
	switch strings.TrimPrefix(r.path, "auth/token/") {
	case "renew":
		return s.tokenLocked(r.text("token"))
	case "renew-accessor":
		for _, t := range s.state.tokens {
			if t.accessor == r.text("accessor") {
				return t, nil
			}
		}
		return nil, refuse(http.StatusForbidden, textInvalidAccessor)
	}
	return r.token, nil
}

func (s *Server) renewLocked(r *request) (*response, error) {
	t, err := s.renewedLocked(r)
	if err != nil {
		return nil, err
	}
	if !t.renewable || t.expires.IsZero() {
		return nil, refuse(http.StatusBadRequest, textNotRenew)
	}
	ttl, err := r.duration("increment")
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		ttl = t.ttl
	}
	now := s.now()
	if t.maxTTL > 0 {
		ttl = min(ttl, t.created.Add(t.maxTTL).Sub(now))
	}
	t.renewed, t.expires = now, now.Add(ttl)
	auth := t.auth()
	auth.LeaseDuration = int(ttl.Seconds())
	return &response{auth: auth, mountType: "token"}, nil
}

// createLocked is auth/token/create and auth/token/create/ROLE.
func (s *Server) createLocked(r *request, roleName string) (*response, error) {
	role, ok := r.ns.roles[roleName]
	if roleName != "" && !ok {
		return nil, refuse(http.StatusBadRequest, textUnknownRole, roleName)
	}
	t := &token{ns: r.ns, display: "token", path: r.path, parent: r.token.id, entity: r.token.entity}
	if name := r.text("display_name"); name != "" {
		t.display = "token-" + name
	}
	var err error
	if t.policies, err = childPolicies(r, role, roleName != ""); err != nil {
		return nil, err
	}
	if t.ttl, err = r.duration("ttl"); err != nil {
		return nil, err
	}
	if t.maxTTL, err = r.duration("explicit_max_ttl"); err != nil {
		return nil, err
	}
	if t.uses, err = r.count("num_uses"); err != nil {
		return nil, err
	}
	if t.uses < 0 {
		return nil, refuse(http.StatusBadRequest, textNegativeUses)
	}
	t.meta = r.strings("meta")
	t.orphan = role.Orphan || r.data["no_parent"] == true
	t.renewable = r.data["renewable"] != false
	if slices.Equal(t.policies, []string{"root"}) && t.ttl == 0 {
		t.renewable = false
	} else if t.ttl == 0 {
		t.ttl = defaultTTL
	}
	resp := &response{mountType: "token"}
	if role.MaxTTL > 0 {
		t.maxTTL = role.MaxTTL
	}
	if t.maxTTL > 0 && t.ttl > t.maxTTL {
		resp.warnings = []string{fmt.Sprintf(textTTLCapped, short(t.ttl), short(t.maxTTL))}
		t.ttl = t.maxTTL
	}
	resp.auth = s.issueLocked(t)
	return resp, nil
}

// childPolicies is what a new token may do: never more than its parent, unless a role
// says so (vault/token_store.go).
func childPolicies(r *request, role TokenRole, byRole bool) ([]string, error) {
	asked, parent := sanitized(r.list("policies")), r.token.policies
	isRoot := slices.Contains(parent, "root")
	var out []string
	switch {
	case byRole && role.AllowedPolicies != nil:
		allowed := withDefault(role.AllowedPolicies)
		if len(asked) == 0 {
			out = allowed
			break
		}
		if !subset(asked, allowed) {
			return nil, refuse(http.StatusBadRequest, textRoleSubset, asked, allowed)
		}
		out = withDefault(asked)
	case len(asked) == 0:
		out = slices.Clone(parent)
	case !isRoot && !subset(asked, parent):
		return nil, refuse(http.StatusBadRequest, textNotSubset)
	case slices.Contains(asked, "root"):
		out = []string{"root"}
	case isRoot || slices.Contains(parent, "default"):
		out = withDefault(asked)
	default:
		out = asked
	}
	if r.data["no_default_policy"] == true {
		out = slices.DeleteFunc(out, func(p string) bool { return p == "default" })
	}
	return out, nil
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(p string) bool { return !slices.Contains(all, p) })
}

// short prints 1h instead of 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
