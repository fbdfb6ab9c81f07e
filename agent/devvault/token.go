package devvault

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A token is a service token or a batch token, wrapping tokens included.
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
	batch        bool // nothing but its end or its parent's ends it

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
	if t == nil || s.overLocked(t) {
		return nil, s.deadToken()
	}
	return t, nil
}

// deadToken is the answer to a token that is not there any more, or never was. OpenBao does not tell
// it from no token at all.
func (s *Server) deadToken() *fault {
	if s.cfg.Flavor == OpenBao {
		return refuse(http.StatusForbidden, textBareDenied)
	}
	return refuse(http.StatusForbidden, textInvalidToken)
}

// overLocked removes a token whose time is over, or whose parent's is.
func (s *Server) overLocked(t *token) bool {
	over := !t.expires.IsZero() && !s.now().Before(t.expires)
	if !over && t.parent != "" && !t.orphan {
		parent := s.state.tokens[t.parent]
		over = parent == nil || s.overLocked(parent)
	}
	if over {
		s.revokeLocked(t)
	}
	return over
}

// useLocked takes one use, and returns what to do when the request has been answered.
func (s *Server) useLocked(t *token) (after func()) {
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
	if t.batch {
		t.id, t.accessor, t.renewable = "hvb."+t.id[len("hvs."):], "", false
	}
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
		EntityID: t.entity, TokenType: t.kind(), Orphan: t.orphan, NumUses: t.uses,
	}
}

func (t *token) kind() string {
	if t.batch {
		return "batch"
	}
	return "service"
}

func (s *Server) tokenBackendLocked(r *request, rest string) (*response, error) {
	switch {
	case rest == "lookup-self" && r.op == opRead:
		return &response{data: s.lookupLocked(r.token), mountType: "token"}, nil
	case slices.Contains([]string{"lookup", "lookup-accessor"}, rest) && (r.op == opUpdate || r.op == opRead):
		return s.lookupOtherLocked(r, rest)
	case slices.Contains([]string{"revoke-self", "revoke", "revoke-accessor", "revoke-orphan"}, rest) && r.op == opUpdate:
		return s.endLocked(r, rest)
	case slices.Contains([]string{"renew-self", "renew", "renew-accessor"}, rest) && r.op == opUpdate:
		return s.renewLocked(r)
	case (rest == "create" || rest == "create-orphan") && r.op == opUpdate:
		return s.createLocked(r, "")
	case strings.HasPrefix(rest, "create/") && r.op == opUpdate:
		return s.createLocked(r, strings.TrimPrefix(rest, "create/"))
	case slices.Contains([]string{
		"lookup-self", "lookup", "lookup-accessor", "revoke-self", "revoke", "revoke-accessor", "revoke-orphan",
		"renew-self", "renew", "renew-accessor", "create", "create-orphan",
	}, rest):
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
		"renewable": t.renewable, "ttl": 0, "type": t.kind(),
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

// byAccessorLocked is the live token with this accessor, nil when there is none.
func (s *Server) byAccessorLocked(accessor string) *token {
	for _, t := range s.state.tokens {
		if accessor != "" && t.accessor == accessor && !s.overLocked(t) {
			return t
		}
	}
	return nil
}

// lookupOtherLocked is auth/token/lookup and lookup-accessor.
func (s *Server) lookupOtherLocked(r *request, rest string) (*response, error) {
	if rest == "lookup-accessor" {
		if r.text("accessor") == "" {
			return nil, refuse(http.StatusBadRequest, textNoAccessorGiven)
		}
		t := s.byAccessorLocked(r.text("accessor"))
		if t == nil {
			return nil, refuse(http.StatusBadRequest, textInvalidAccessor)
		}
		data := s.lookupLocked(t)
		data["id"] = ""
		return &response{data: data, mountType: "token"}, nil
	}
	id := r.text("token")
	if id == "" {
		id = r.token.id
	}
	t, err := s.tokenLocked(id)
	if err != nil {
		return nil, refuse(http.StatusForbidden, textBadToken)
	}
	return &response{data: s.lookupLocked(t), mountType: "token"}, nil
}

// endLocked is the four ways to revoke a token. Its children go with it, but for revoke-orphan. What
// is gone already is gone: that is no error, but for revoke-orphan.
func (s *Server) endLocked(r *request, rest string) (*response, error) {
	var t *token
	switch rest {
	case "revoke-self":
		t = r.token
	case "revoke-accessor":
		if r.text("accessor") == "" {
			return nil, refuse(http.StatusBadRequest, textNoAccessorGiven)
		}
		if t = s.byAccessorLocked(r.text("accessor")); t == nil {
			return &response{warnings: []string{textNoneOfAcc}, mountType: "token"}, nil
		}
	default:
		if r.text("token") == "" {
			return nil, refuse(http.StatusBadRequest, textNoTokenID)
		}
		t, _ = s.tokenLocked(r.text("token"))
	}
	switch {
	case t == nil && rest == "revoke-orphan":
		return nil, refuse(http.StatusBadRequest, textNoTokenFound)
	case t == nil:
		return nil, nil
	case t.batch:
		return nil, refuse(http.StatusBadRequest, textBatchRevoke)
	case rest == "revoke-orphan":
		for _, child := range s.state.tokens {
			child.orphan = child.orphan || child.parent == t.id
		}
	}
	s.revokeLocked(t)
	return nil, nil
}

// renewedLocked is the token that a request renews: its own, or the one in its body.
func (s *Server) renewedLocked(r *request) (*token, error) {
	switch strings.TrimPrefix(r.path, "auth/token/") {
	case "renew":
		return s.tokenLocked(r.text("token"))
	case "renew-accessor":
		if t := s.byAccessorLocked(r.text("accessor")); t != nil {
			return t, nil
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
