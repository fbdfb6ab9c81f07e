package devvault

import (
	"bytes"
	"net/http"
	"time"
)

// A wrapping is the answer that a wrapping token stands for.
type wrapping struct {
	body         []byte // the whole answer as JSON
	creationPath string
	created      time.Time
	ttl          time.Duration
	held         *heldRequest // of a control group, in the place of body
}

// wrapped puts an answer behind a single-use token when the request asked for it. Only
// the final answer of a successful request with something in it is wrapped.
func (s *Server) wrapped(r *request, resp *response) *response {
	if r.wrap == 0 || resp == nil || resp.wrap != nil || resp.status != 0 || resp.raw != nil || resp.body != nil || resp.stream != nil {
		return resp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := &token{
		ns: r.ns, display: "token", path: r.path, policies: []string{"response-wrapping"}, ttl: r.wrap,
		uses: 1, orphan: true,
		wrapping: &wrapping{body: encode(resp.envelope(r.id)), creationPath: r.path, created: now, ttl: r.wrap},
	}
	s.issueLocked(t)
	block := &wrapBlock{
		Token: t.id, Accessor: t.accessor, TTL: int(r.wrap.Seconds()), CreationTime: rfc3339(now), CreationPath: r.path,
	}
	if resp.auth != nil {
		block.WrappedAccessor = resp.auth.Accessor
	}
	return &response{wrap: block}
}

// wrappingLocked is the live wrapping token that a request is about: the one in the body,
// else the one it came with.
func (s *Server) wrappingLocked(r *request) (*token, error) {
	id := r.text("token")
	if id == "" {
		id = r.tokenID
	}
	if id == "" {
		return nil, refuse(http.StatusForbidden, textWrapEmpty)
	}
	t, err := s.tokenLocked(id)
	if err != nil || t.wrapping == nil {
		return nil, refuse(http.StatusBadRequest, textWrapToken)
	}
	return t, nil
}

func (s *Server) wrapLookupLocked(r *request) (*response, error) {
	t, err := s.wrappingLocked(r)
	if err != nil {
		return nil, err
	}
	if r.op != opUpdate && r.op != opRead {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupportedRaw)
	}
	return &response{data: map[string]any{
		"creation_path": t.wrapping.creationPath, "creation_time": rfc3339(t.wrapping.created),
		"creation_ttl": int(t.wrapping.ttl.Seconds()),
	}}, nil
}

// unwrapLocked gives out the answer and uses the wrapping token up. With the token in the
// body, the caller needs a token of its own.
func (s *Server) unwrapLocked(r *request) (*response, error) {
	t, err := s.wrappingLocked(r)
	if err != nil {
		return nil, err
	}
	if r.op != opUpdate {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupportedRaw)
	}
	caller := t
	if t.id != r.tokenID {
		if caller, err = s.tokenLocked(r.tokenID); err != nil {
			return nil, err
		}
		defer s.useLocked(caller)()
	}
	if t.wrapping.held != nil {
		return s.carryOutLocked(r, t, caller)
	}
	s.revokeLocked(t)
	return &response{body: bytes.TrimRight(t.wrapping.body, "\n")}, nil
}

// cubbyhole is how wrapped answers were read before sys/wrapping/unwrap.
func (w *wrapping) cubbyhole() *response {
	return &response{
		mountType: "cubbyhole", warnings: []string{textWrapCubbyhole},
		data: map[string]any{"response": string(bytes.TrimRight(w.body, "\n"))},
	}
}
