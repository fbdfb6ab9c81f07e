package devvault

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// ServeHTTP answers as a single unsealed Vault node does.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	if !s.enter() {
		fail(w, refuse(http.StatusServiceUnavailable, textClosed))
		return
	}
	defer s.life.handlers.Done()
	w, hr, finish := s.records.begin(w, hr)
	defer finish()
	s.serve(w, hr)
}

func (s *Server) serve(w http.ResponseWriter, hr *http.Request) {
	// As http.ServeMux does since Go 1.22: the path is cleaned as it was sent, so that dots and
	// slashes that are encoded stay where they are, and reach policies and backends decoded.
	sent := hr.URL.EscapedPath()
	if clean := cleanPath(sent); clean != sent {
		u := url.URL{Path: clean, RawQuery: hr.URL.RawQuery} // escapes what is escaped once more, as the mux does
		http.Redirect(w, hr, u.String(), s.cfg.CleanStatus)
		return
	}
	if !routed(sent, "v1") || !strings.HasPrefix(hr.URL.Path, "/v1/") {
		if routed(sent, "ui") {
			http.NotFound(w, hr)
			return
		}
		http.Redirect(w, hr, "/ui/", http.StatusTemporaryRedirect)
		return
	}
	r, err := s.parse(w, hr)
	if err != nil {
		fail(w, err)
		return
	}
	s.monitors.emit("[DEBUG] core: request: operation=" + string(r.op) + " path=" + r.path)
	resp, err := s.handle(r)
	switch {
	case err != nil:
		fail(w, err)
	case resp == nil && r.op == opRead:
		fail(w, &fault{status: http.StatusNotFound})
	default:
		respond(w, r, s.wrapped(r, resp))
	}
}

// routed reports whether the first segment of a path as it was sent is this one: the mux decodes
// segment by segment, so an encoded slash ends none.
func routed(sent, first string) bool {
	segment, _, more := strings.Cut(strings.TrimPrefix(sent, "/"), "/")
	decoded, err := url.PathUnescape(segment)
	return more && err == nil && decoded == first
}

// cleanPath is what http.ServeMux redirects to: no //, no dots, and the slash at
// the end kept.
func cleanPath(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// handle finds the handler and calls it. It must not hold s.mu while a push is open.
func (s *Server) handle(r *request) (*response, error) {
	if (r.op == opUpdate || r.op == opPatch) && strings.HasSuffix(r.path, "/") {
		return nil, refuse(http.StatusBadRequest, textTrailingSlash)
	}
	if r.path == "sys/mfa/validate" {
		return s.validate(r)
	}
	if m, name := s.loginAt(r); m != nil {
		if err := s.governLogin(r, m, name); err != nil {
			return nil, err
		}
		return s.login(r, m, name)
	}
	if o, nonce := s.oktaVerify(r); o != nil {
		return o.answer(nonce), nil
	}
	if h := openRoute(r); h != nil {
		if err := s.governOpen(r); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return h(s, r)
	}
	return s.authorized(r)
}

// A handler answers a request. It is called with s.mu held.
type handler func(s *Server, r *request) (*response, error)

// openRoute is the paths that need no token.
func openRoute(r *request) handler {
	switch {
	case r.path == "sys/health":
		return (*Server).healthLocked
	case r.path == "identity/mfa/method/totp/self-enroll":
		return (*Server).selfEnrolLocked
	case r.path == "sys/seal-status":
		return (*Server).sealStatusLocked
	case r.path == "sys/leader":
		return (*Server).leaderLocked
	case r.path == "sys/wrapping/lookup":
		return (*Server).wrapLookupLocked
	case r.path == "sys/wrapping/unwrap":
		return (*Server).unwrapLocked
	case r.path == "sys/internal/ui/mounts" || strings.HasPrefix(r.path, "sys/internal/ui/mounts/"):
		return (*Server).uiMountsLocked
	}
	return nil
}

// authorized answers a request that needs a token: token, policy, second factor,
// and only then the backend, so that a refusal never has a side effect.
func (s *Server) authorized(r *request) (*response, error) {
	s.mu.Lock()
	t, err := s.tokenLocked(r.tokenID)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	r.token = t
	if s.cfg.Flavor == OpenBao && strings.HasPrefix(r.path, "auth/token/") && strings.HasSuffix(r.path, "-self") {
		r.ns = t.ns // a token finds itself from every namespace
	}
	methods, err := s.permitLocked(r)
	s.mu.Unlock()
	if err == nil && len(methods) > 0 {
		err = s.stepUp(r, methods)
	}
	if err == nil && !slices.Contains(t.policies, "root") { // root skips them, too
		err = s.govern(r, t.entity, http.StatusForbidden)
	}
	if err == nil {
		err = s.renewalFactor(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The token may be gone since: revoked while a push waited, or used up by another
	// request with the same one.
	if s.state.tokens[t.id] != t {
		return nil, s.deadToken()
	}
	// A use is spent even when the request is denied (vault/request_handling.go).
	defer s.useLocked(t)()
	if err != nil {
		return nil, err
	}
	if r.group != nil {
		return s.holdLocked(r), nil
	}
	return s.backendLocked(r)
}

// permitLocked looks at the policies of r.token, and returns the MFA methods that they
// want for the path. It notes the control group that holds r.
func (s *Server) permitLocked(r *request) (methods []string, err error) {
	a := s.aclLocked(r.token)
	if a.root {
		return nil, nil // root skips MFA too (vault/acl.go)
	}
	op := r.op
	if op == opUpdate && !s.existsLocked(r) {
		op = opCreate
	}
	g := a.lookup(r.ns.path+r.path, op == opList || op == opScan)
	if g == nil || !g.allows(op) {
		return nil, refuse(http.StatusForbidden, textDenied)
	}
	if g.group.applies(op) {
		r.group, r.checked = g.group, op
	}
	return g.methods, nil
}

// existsLocked is the existence check of a backend: without one, every write is an update.
func (s *Server) existsLocked(r *request) bool {
	m, rest := r.ns.mountLocked(r.path)
	if m == nil {
		return true
	}
	switch m.kind {
	case "kv":
		key, isData := strings.CutPrefix(rest, "data/")
		return !isData || m.kv.secrets[key] != nil
	case "cubbyhole":
		return r.token.cubbyhole[rest] != nil
	default:
		return true
	}
}

func (s *Server) backendLocked(r *request) (*response, error) {
	m, rest := r.ns.mountLocked(r.path)
	if m == nil {
		return nil, refuse(http.StatusNotFound, textNoRoute, r.path)
	}
	if r.op == opNone {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	}
	switch m.kind {
	case "kv":
		return s.kvLocked(r, m, rest)
	case "cubbyhole":
		return s.cubbyholeLocked(r, rest)
	case "transit":
		return s.transitLocked(r, rest)
	case "token":
		return s.tokenBackendLocked(r, rest)
	case "system":
		return s.systemLocked(r, rest)
	default:
		return nil, refuse(http.StatusNotFound, textNoPath)
	}
}
