package devvault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// A ControlGroup makes Vault hold a request until other people have approved it, as
// Enterprise does: the caller gets a wrapping token, and the request is carried out
// when that is unwrapped.
type ControlGroup struct {
	TTL     time.Duration // of the wrapping token; 0 means an hour
	Factors []GroupFactor // every one must be satisfied
}

// A GroupFactor is one group of people.
type GroupFactor struct {
	Capabilities []string // that it applies to; nil means all
	Members      []string // names of entities that may approve
	Approvals    int      // how many of them must; 0 means one
}

const defaultGroupTTL = time.Hour

func (g *ControlGroup) applies(op operation) bool {
	return g != nil && slices.ContainsFunc(g.Factors, func(f GroupFactor) bool { return f.covers(op) })
}

func (f GroupFactor) covers(op operation) bool {
	return f.Capabilities == nil || slices.Contains(f.Capabilities, string(op))
}

// A heldRequest is a request that waits for approval.
type heldRequest struct {
	request *request
	op      operation // with create told from update
	group   *ControlGroup
	by      []*entity // in the order of their approvals
}

func (h *heldRequest) approved() bool {
	for _, f := range h.group.Factors {
		if !f.covers(h.op) {
			continue
		}
		n := 0
		for _, e := range h.by {
			if slices.Contains(f.Members, e.name) {
				n++
			}
		}
		if n < max(1, f.Approvals) {
			return false
		}
	}
	return true
}

// approve counts an approval of e, who must be a member of a factor. A second one of
// the same entity does not count; Vault lets a member approve its own request.
func (h *heldRequest) approve(e *entity) bool {
	if e == nil || !slices.ContainsFunc(h.group.Factors, func(f GroupFactor) bool { return slices.Contains(f.Members, e.name) }) {
		return false
	}
	if !slices.Contains(h.by, e) {
		h.by = append(h.by, e)
	}
	return true
}

// holdLocked answers with a wrapping token in the place of the request's own answer.
func (s *Server) holdLocked(r *request) *response {
	ttl := r.group.TTL
	if ttl == 0 {
		ttl = defaultGroupTTL
	}
	now := s.now()
	t := &token{
		ns: r.ns, display: "token", path: r.path, policies: []string{"control-group"}, ttl: ttl, uses: 1, orphan: true,
		wrapping: &wrapping{creationPath: r.path, created: now, ttl: ttl, held: &heldRequest{request: r, op: r.checked, group: r.group}},
	}
	s.issueLocked(t)
	s.state.heldOrder = append(s.state.heldOrder, t.id)
	close(s.state.heldChanged)
	s.state.heldChanged = make(chan struct{})
	return &response{wrap: &wrapBlock{
		Token: t.id, Accessor: t.accessor, TTL: int(ttl.Seconds()), CreationTime: rfc3339(now), CreationPath: r.path,
	}}
}

// carryOutLocked is the unwrapping of a held request: only its requester may, and only
// when it is approved; before that the wrapping token stays as it is.
func (s *Server) carryOutLocked(r *request, t, caller *token) (*response, error) {
	h := t.wrapping.held
	switch {
	case !h.approved():
		return nil, refuse(http.StatusBadRequest, textFurtherApproval)
	case caller != t && caller.entity != h.request.token.entity:
		return nil, refuse(http.StatusForbidden, textDenied)
	}
	s.revokeLocked(t)
	h.request.ctx = r.ctx
	resp, err := s.backendLocked(h.request)
	if err == nil && resp == nil && h.request.op == opRead {
		err = &fault{status: http.StatusNotFound}
	}
	return resp, err
}

// heldLocked is the live wrapping token of a held request with this accessor.
func (s *Server) heldLocked(accessor string) *token {
	for _, id := range s.state.heldOrder {
		t, err := s.tokenLocked(id)
		if err == nil && t.accessor == accessor {
			return t
		}
	}
	return nil
}

// controlGroupLocked is sys/control-group/request and sys/control-group/authorize.
func (s *Server) controlGroupLocked(r *request, rest string) (*response, error) {
	if r.op != opUpdate {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupported)
	}
	accessor := r.text("accessor")
	if accessor == "" {
		return nil, refuse(http.StatusBadRequest, textNoAccessor)
	}
	t := s.heldLocked(accessor)
	if t == nil {
		return nil, refuse(http.StatusBadRequest, textBadAccessor)
	}
	h := t.wrapping.held
	switch rest {
	case "control-group/authorize":
		if !h.approve(s.state.entities[r.token.entity]) {
			return nil, refuse(http.StatusForbidden, textDenied)
		}
		return &response{data: map[string]any{"approved": h.approved()}, mountType: "system"}, nil
	case "control-group/request":
		authorizations := []any{}
		for _, e := range h.by {
			authorizations = append(authorizations, map[string]any{"entity_id": e.id, "entity_name": e.name})
		}
		asked := map[string]any{"id": "", "name": ""}
		if e := s.state.entities[h.request.token.entity]; e != nil {
			asked = map[string]any{"id": e.id, "name": e.name}
		}
		return &response{mountType: "system", data: map[string]any{
			"approved": h.approved(), "request_path": h.request.path, "request_entity": asked, "authorizations": authorizations,
		}}, nil
	}
	return nil, refuse(http.StatusNotFound, textNoPath)
}

// A HeldRequest is a request that waits for approval, or has it and was not unwrapped.
type HeldRequest struct {
	Accessor string
	Path     string
	Approved bool
	By       []string // names of the approvers
}

// HeldRequests lists the requests that control groups hold, oldest first.
func (s *Server) HeldRequests() []HeldRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []HeldRequest
	for _, id := range s.state.heldOrder {
		t, err := s.tokenLocked(id)
		if err != nil {
			continue
		}
		h := t.wrapping.held
		held := HeldRequest{Accessor: t.accessor, Path: h.request.path, Approved: h.approved()}
		for _, e := range h.by {
			held.By = append(held.By, e.name)
		}
		all = append(all, held)
	}
	return all
}

// WaitHeld blocks until at least n requests were ever held, or ctx ends, whose error it
// returns.
func (s *Server) WaitHeld(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		have, changed := len(s.state.heldOrder), s.state.heldChanged
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Authorize approves a held request as the person of that name, who must be a member of
// one of its factors.
func (n *Namespace) Authorize(accessor, entity string) error {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	t := n.s.heldLocked(accessor)
	if t == nil {
		return fmt.Errorf("authorizing: no request is held under %q", accessor)
	}
	if !t.wrapping.held.approve(n.findEntityLocked(entity)) {
		return fmt.Errorf("authorizing: %q may not approve it", entity)
	}
	return nil
}
