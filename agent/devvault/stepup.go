package devvault

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// stepUp is Enterprise's check of mfa_methods: every method must validate for this one
// request. A push blocks it; a missing or wrong code fails it at once. The client never
// learns the reason, which goes to the server log: the answer is that of an ordinary
// denial, letter for letter.
func (s *Server) stepUp(r *request, methods []string) error {
	for _, name := range methods {
		if err := s.factorOnce(r, r.token.entity, name); err != nil {
			s.cfg.Log.Error("validation failed", "method", name, "error", err)
			if shown := (*fault)(nil); errors.As(err, &shown) {
				return shown
			}
			return refuse(http.StatusForbidden, textDenied)
		}
	}
	return nil
}

// stepUpFactor knows a method by its bare name only, in the root namespace, and a code by
// its bare digits: "passcode=123456" is wrong here although Login MFA takes it. Duo is the
// other way round: only "passcode=123456" is a code, every other value requests a push.
func (s *Server) stepUpFactor(r *request, entity, name string) error {
	s.mu.Lock()
	m := s.stepUpMethodLocked(name)
	e := s.state.entities[entity]
	s.mu.Unlock()
	values := byMethod(r.mfa)[name]
	switch {
	case e == nil:
		return errors.New("entity is nil")
	case m == nil:
		return errors.New("MFA method configuration not present")
	case m.push != nil:
		code := ""
		for _, v := range values {
			if typed, ok := strings.CutPrefix(v, "passcode="); ok {
				code = typed
			}
		}
		return m.push.validate(r.ctx, s.done, code)
	case values == nil:
		return errors.New(textNoCredentials)
	case len(values) == 0:
		return errors.New("missing TOTP passcode")
	case len(values) > 1:
		return errors.New("more than one TOTP passcode supplied")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sd, ok := e.seeds[m.id]
	if !ok {
		return fmt.Errorf("MFA secret for method name %q not present in entity %q", name, e.id)
	}
	// Whether Enterprise remembers used step-up codes is not known: the careful
	// assumption is that it does. It is not known to count attempts.
	if err := m.fresh(values[0], s.now()); err != nil {
		return err
	}
	return m.accept(sd, e.id, values[0], s.now())
}

func (s *Server) stepUpMethodLocked(name string) *method {
	for _, m := range s.state.methods {
		if m.name == name && m.ns == s.Namespace {
			return m
		}
	}
	return nil
}
