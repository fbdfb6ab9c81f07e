package devvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// heldFor is how long a login waits for its second factor (vault/core.go).
const heldFor = 300 * time.Second

// An enforcement asks for any one of its methods after a login at one of its mounts.
type enforcement struct {
	name    string
	methods []*method
	mounts  map[string]bool // "auth/userpass/"
}

// A heldLogin is a login that succeeded but for its second factor.
type heldLogin struct {
	id      string
	ns      *Namespace
	mount   string
	token   *token // not issued yet
	created time.Time
	pending pendingSeed // by self-enrolment; kept for good when it validates
}

// enforcedLocked is the enforcements of a mount, in the order they are checked in.
func (n *Namespace) enforcedLocked(mount string) []*enforcement {
	var out []*enforcement
	for _, e := range n.enforcements {
		if e.mounts[mount] {
			out = append(out, e)
		}
	}
	return out
}

// loginMFA finishes a login: in one phase when it brought X-Vault-MFA, else held
// until sys/mfa/validate.
func (s *Server) loginMFA(r *request, m *mount, t *token) (*response, error) {
	s.mu.Lock()
	enforced := r.ns.enforcedLocked(m.path)
	s.mu.Unlock()
	if len(enforced) > 0 && len(r.mfa) > 0 {
		credentials := byMethod(r.mfa)
		for _, e := range enforced {
			if err := s.satisfy(r, e, t.entity, credentials); err != nil {
				s.cfg.Log.Info("validation failed", "enforcement", e.name, "error", err)
				return nil, refuse(http.StatusForbidden, textBareDenied) // no reason in one phase
			}
		}
		enforced = nil
	} else if len(r.mfa) > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return &response{auth: s.issueLocked(t), warnings: []string{textMFAUnused}}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(enforced) == 0 {
		return &response{auth: s.issueLocked(t)}, nil
	}
	h := &heldLogin{id: newUUID(), ns: r.ns, mount: m.path, token: t, created: s.now()}
	s.state.held[h.id] = h
	for id, old := range s.state.held {
		if s.now().Sub(old.created) >= heldFor {
			delete(s.state.held, id)
		}
	}
	return &response{
		warnings: []string{textLoginMFA},
		auth:     &authBlock{TokenType: "default", Requirement: requirement(h.id, enforced, s.state.entities[t.entity])},
	}, nil
}

func requirement(id string, enforced []*enforcement, e *entity) *requirementBlock {
	out := &requirementBlock{RequestID: id, Constraints: make(map[string]anyBlock)}
	for _, enf := range enforced {
		var block anyBlock
		for _, m := range enf.methods {
			block.Any = append(block.Any, methodBlock{
				Type: m.kind, ID: m.id, UsesPasscode: m.push.usesPasscode(), Name: m.fullName(),
				SelfEnrols: len(enforced) == 1 && m.selfEnrols(e),
			})
		}
		out.Constraints[enf.name] = block
	}
	return out
}

// validate answers sys/mfa/validate. The held login is taken out while it is looked at,
// so that a second call at the same time finds none, and put back when it failed.
func (s *Server) validate(r *request) (*response, error) {
	if r.op != opUpdate {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupportedRaw)
	}
	id := r.text("mfa_request_id")
	if id == "" {
		return nil, refuse(http.StatusBadRequest, textNoRequestID)
	}
	credentials, err := payload(r.data["mfa_payload"])
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	h := s.state.held[id]
	delete(s.state.held, id)
	if h == nil || s.now().Sub(h.created) >= heldFor {
		s.mu.Unlock()
		return nil, refuse(http.StatusBadRequest, textBadRequestID)
	}
	enforced := h.ns.enforcedLocked(h.mount)
	s.mu.Unlock()

	r.validates = h
	err = s.satisfyAll(r, h, enforced, credentials)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.state.held[id] = h // with its own time: it does not live longer
		return nil, err
	}
	s.keepSeedLocked(h)
	return &response{auth: s.issueLocked(h.token)}, nil
}

func (s *Server) satisfyAll(r *request, h *heldLogin, enforced []*enforcement, credentials map[string][]string) error {
	if r.ns != h.ns {
		return refuse(http.StatusInternalServerError, textNamespace, h.ns.path, r.ns.path)
	}
	if len(enforced) == 0 {
		return refuse(http.StatusInternalServerError, textNoEnforce)
	}
	for _, e := range enforced {
		if err := s.satisfy(r, e, h.token.entity, credentials); err != nil {
			return refuse(http.StatusForbidden, textUnsatisfied, e.name, err)
		}
	}
	return nil
}

// satisfy tries the methods of an enforcement that there are credentials for, in its own
// order, until one validates.
func (s *Server) satisfy(r *request, e *enforcement, entityID string, credentials map[string][]string) error {
	var missing, failed []string
	given := make(map[*method][]string)
	for _, m := range e.methods {
		values, ok := credentials[m.id]
		if !ok {
			values, ok = credentials[m.fullName()]
		}
		if !ok {
			missing = append(missing, fmt.Sprintf(textNotFound, m.id, m.fullName()))
			continue
		}
		given[m] = values
	}
	if len(given) == 0 {
		return fmt.Errorf(textSanitize, multiError(missing...))
	}
	var ids []string
	for _, m := range e.methods {
		ids = append(ids, m.id)
	}
	for _, m := range e.methods {
		values, ok := given[m]
		if !ok || values == nil { // null in the payload counts as not given
			continue
		}
		err := s.loginFactor(r, m, entityID, values)
		if err == nil {
			return nil
		}
		failed = append(failed, s.flavorText(err.Error()))
	}
	failed = append(failed, fmt.Sprintf(textMethodFailed, ids))
	return errors.New(multiError(failed...))
}

// flavorText is why a factor failed, as the flavor says it.
func (s *Server) flavorText(text string) string {
	if s.cfg.Flavor == OpenBao && (text == textWrongCode || text == textNoCredentials) {
		return textBaoWrongCode
	}
	return text
}

func (s *Server) loginFactor(r *request, m *method, entityID string, values []string) error {
	code, err := factor(values)
	if err != nil {
		return fmt.Errorf(textFactor, err)
	}
	if m.push != nil {
		return m.push.validate(r.ctx, s.done, code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.state.entities[entityID]
	sd, ok := s.seedLocked(r, m, e)
	if !ok {
		return fmt.Errorf(textNotEnrolled, m.id, entityID)
	}
	if code == "" {
		return errors.New(textNoCredentials)
	}
	if err := m.fresh(code, s.now()); err != nil {
		return err
	}
	if err := m.countAttempt(entityID, s.now()); err != nil {
		return err
	}
	return m.accept(sd, entityID, code, s.now())
}

// factor is the one passcode among the values of a method: bare, or passcode=CODE
// (vault/login_mfa.go, parseMfaFactors).
func factor(values []string) (string, error) {
	code := ""
	for _, v := range values {
		key, value, isPair := strings.Cut(v, "=")
		switch {
		case v == "":
			continue
		case isPair && key != "passcode":
			return "", fmt.Errorf("found an invalid MFA cred: %s", v)
		case isPair && value == "":
			return "", errors.New("invalid passcode")
		case !isPair:
			value = v
		}
		if code != "" {
			return "", errors.New("found multiple passcodes for the same MFA method")
		}
		code = value
	}
	return code, nil
}

// payload reads mfa_payload: lists of strings by method, null for none. Its error is a *fault.
func payload(v any) (map[string][]string, error) {
	out := make(map[string][]string)
	object, ok := v.(map[string]any)
	if v != nil && !ok {
		list, isList := v.([]any)
		switch {
		case isList && len(list) == 0:
			return out, nil
		case isList:
			return nil, refuse(http.StatusBadRequest, textBadField, "mfa_payload", fmt.Sprintf(textNotMap, "[0]", kindOf(list[0])))
		}
		return nil, refuse(http.StatusBadRequest, textBadField, "mfa_payload", fmt.Sprintf(textNotMap, "", kindOf(v)))
	}
	for name, value := range object {
		if value == nil {
			out[name] = nil
			continue
		}
		list, ok := value.([]any)
		if !ok {
			return nil, refuse(http.StatusBadRequest, textBadPayload)
		}
		values := make([]string, 0, len(list))
		for _, e := range list {
			switch e := e.(type) {
			case string:
				values = append(values, e)
			case json.Number:
				values = append(values, e.String())
			default:
				return nil, refuse(http.StatusBadRequest, textBadPayload)
			}
		}
		out[name] = values
	}
	return out, nil
}

// kindOf is the Go kind of a JSON value, which Vault names in its error.
func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "bool"
	case []any:
		return "slice"
	default:
		return "string" // numbers too: they are json.Number
	}
}

// HeldLogins is how many logins wait for their second factor, those that are being
// validated left out.
func (s *Server) HeldLogins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, h := range s.state.held {
		if s.now().Sub(h.created) < heldFor {
			n++
		}
	}
	return n
}

// methodLocked finds a method by ID, by name in this namespace, or by name in a parent.
func (n *Namespace) methodLocked(nameOrID string) *method {
	var best *method
	for _, m := range n.s.state.methods {
		if m.id == nameOrID {
			return m
		}
		if m.name == nameOrID && strings.HasPrefix(n.path, m.ns.path) &&
			(best == nil || len(m.ns.path) > len(best.ns.path)) {
			best = m
		}
	}
	return best
}

// addMethodLocked replaces a method of the same name.
func (n *Namespace) addMethodLocked(m *method) {
	m.id, m.ns = newUUID(), n
	n.s.state.methods = slices.DeleteFunc(n.s.state.methods, func(old *method) bool {
		return old.ns == n && old.name == m.name
	})
	n.s.state.methods = append(n.s.state.methods, m)
}
