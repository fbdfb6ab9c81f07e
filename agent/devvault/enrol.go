package devvault

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image/png"
	"net/http"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// qrSide is the width of the QR code that Vault draws, in pixels.
const qrSide = 200

// A pendingSeed is one that was made for a held login. It becomes the entity's when
// the login validates (vault/login_mfa.go, handleMFALoginValidate).
type pendingSeed struct {
	method *method // nil for none
	seed   seed
}

// AllowSelfEnrolment sets enable_self_enrollment of a TOTP method (name or ID), which
// Vault Enterprise has since 1.21: a login offers to an entity without a secret for it
// to make one.
func (n *Namespace) AllowSelfEnrolment(method string) error {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	m := n.methodLocked(method)
	if m == nil || m.push != nil {
		return fmt.Errorf("allowing self-enrolment: there is no TOTP method %q", method)
	}
	m.selfEnrol = true
	return nil
}

// selfEnrols reports whether a login of e offers a secret for m.
func (m *method) selfEnrols(e *entity) bool {
	return m.selfEnrol && e != nil && e.seeds[m.id] == ""
}

// selfEnrolLocked answers identity/mfa/method/totp/self-enroll. It is part of Vault
// Enterprise alone: request, answer and the refusal of a second secret are as its UI
// and the community code next to it have them, the texts of the other refusals are
// those of sys/mfa/validate.
func (s *Server) selfEnrolLocked(r *request) (*response, error) {
	if r.op != opUpdate {
		return nil, refuse(http.StatusMethodNotAllowed, textUnsupportedRaw)
	}
	id := r.text("mfa_request_id")
	if id == "" {
		return nil, refuse(http.StatusBadRequest, textNoRequestID)
	}
	h := s.state.held[id]
	if h == nil || s.now().Sub(h.created) >= heldFor {
		return nil, refuse(http.StatusBadRequest, textBadRequestID)
	}
	if r.ns != h.ns {
		return nil, refuse(http.StatusInternalServerError, textNamespace, h.ns.path, r.ns.path)
	}
	m, e := h.offers(r.text("mfa_method_id")), s.state.entities[h.token.entity]
	switch {
	case m == nil:
		return nil, refuse(http.StatusBadRequest, textNoSelfEnrol)
	case e.seeds[m.id] != "":
		return &response{warnings: []string{fmt.Sprintf(textHasSecret, m.name)}, mountType: "identity"}, nil
	}
	key, err := newKey(e)
	if err != nil {
		return nil, err
	}
	picture, err := barcode(key)
	if err != nil {
		return nil, err
	}
	h.pending = pendingSeed{method: m, seed: seed(key.Secret())}
	return &response{data: map[string]any{"barcode": picture, "url": key.URL()}, mountType: "identity"}, nil
}

// offers is the method that the login offers a secret for, nil for any other.
func (h *heldLogin) offers(methodID string) *method {
	enforced := h.ns.enforcedLocked(h.mount)
	if len(enforced) != 1 {
		return nil
	}
	for _, m := range enforced[0].methods {
		if m.id == methodID && m.selfEnrol {
			return m
		}
	}
	return nil
}

// newKey makes a secret for e.
func newKey(e *entity) (*otp.Key, error) {
	return totp.Generate(totp.GenerateOpts{
		Issuer: "Vault", AccountName: e.id, Period: totpPeriod, Digits: totpDigits, SecretSize: 20,
	})
}

// barcode is the picture of a secret as Vault encodes it.
func barcode(key *otp.Key) (string, error) {
	picture, err := key.Image(qrSide, qrSide)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// seedLocked is the secret that a code of m is checked with: the person's, or the one
// that the login r answers has made.
func (s *Server) seedLocked(r *request, m *method, e *entity) (seed, bool) {
	if sd, ok := e.seeds[m.id]; ok {
		return sd, true
	}
	if r.validates != nil && r.validates.pending.method == m {
		return r.validates.pending.seed, true
	}
	return "", false
}

// keepSeedLocked makes the secret of a login that has validated the person's, whatever
// method it was validated by.
func (s *Server) keepSeedLocked(h *heldLogin) {
	m, e := h.pending.method, s.state.entities[h.token.entity]
	if m != nil && e != nil && e.seeds[m.id] == "" {
		e.seeds[m.id] = h.pending.seed
	}
}

// pendingLocked is the newest secret that was made for a person and not validated yet;
// "" for none.
func (s *Server) pendingLocked(m *method, e *entity) (sd seed) {
	var newest *heldLogin
	for _, h := range s.state.held {
		if h.pending.method == m && h.token.entity == e.id && (newest == nil || h.created.After(newest.created)) {
			newest, sd = h, h.pending.seed
		}
	}
	return sd
}
