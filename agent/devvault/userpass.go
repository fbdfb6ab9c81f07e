package devvault

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// A user is one user of a userpass mount.
type user struct {
	password string
	policies []string
	entity   string // ID
}

// loginAt is the mount and the user name that a path logs in at, nil when the path
// is something else.
func (s *Server) loginAt(r *request) (m *mount, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, rest := r.ns.mountLocked(r.path)
	name, ok := strings.CutPrefix(rest, "login/")
	if m == nil || m.users == nil || !ok || name == "" || strings.Contains(name, "/") {
		return nil, ""
	}
	return m, name
}

// login answers with a token, or with what must be satisfied first.
func (s *Server) login(r *request, m *mount, name string) (*response, error) {
	if r.op != opUpdate {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupportedRaw)
	}
	password := r.text("password")
	if password == "" {
		return nil, refuse(http.StatusBadRequest, textNoPassword)
	}
	s.mu.Lock()
	u, ok := m.users[name]
	s.mu.Unlock()
	if subtle.ConstantTimeCompare([]byte(u.password), []byte(password)) != 1 || !ok {
		return nil, refuse(http.StatusBadRequest, "%s", m.badPassword())
	}
	if err := s.bodyFactor(r, m); err != nil {
		return nil, err
	}
	t := &token{
		ns: r.ns, path: r.path, policies: u.policies, entity: u.entity, orphan: true, renewable: true,
		display: strings.ReplaceAll(strings.TrimPrefix(m.path, "auth/"), "/", "-") + name,
		meta:    map[string]string{"username": name}, ttl: s.cfg.TokenTTL, okta: m.okta,
	}
	return s.loginMFA(r, m, t)
}
