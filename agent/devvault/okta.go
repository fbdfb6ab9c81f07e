package devvault

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An Okta is an Okta auth mount with the organisation behind it. Its users have a phone
// for pushes, which is the Push of all of them, or codes, or both. Methods may be called
// by any goroutine.
type Okta struct {
	*Push
	ns *Namespace

	mu      sync.Mutex
	pushes  bool
	codes   []string       // right once each
	number  *int           // challenge of every push, nil for none
	hold    bool           // the number is not available yet
	numbers map[string]int // by nonce of a login that waits
}

// AddOkta mounts an Okta auth method at auth/MOUNT, whose users have a phone. Add users
// with [Namespace.AddUser].
func (n *Namespace) AddOkta(mount string) *Okta {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	path := authPath(mount)
	m := newMount(path, "okta", "")
	m.okta = &Okta{
		Push: &Push{kind: kindOktaLogin, timeout: n.s.cfg.PushTimeout, changed: make(chan struct{})},
		ns:   n, pushes: true, numbers: make(map[string]int),
	}
	n.mounts[path] = m
	return m.okta
}

// Challenge wants this number to be tapped on the phone from now on.
func (o *Okta) Challenge(number int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.number = &number
}

// Hold makes auth/okta/verify answer without a number, as before Okta has shown one on the
// phone; with false it ends.
func (o *Okta) Hold(hold bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hold = hold
}

// Enrol says what the users have: a phone, and codes of Okta Verify or Google
// Authenticator, each good for one login. Without either no login succeeds.
func (o *Okta) Enrol(phone bool, codes ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushes, o.codes = phone, codes
}

// factor is the second factor of one login, in the order of the plugin: a code where
// one was given and can be used, else a push, else an error that asks for a code.
func (o *Okta) factor(r *request) error {
	code, nonce, provider := r.text("totp"), r.text("nonce"), strings.ToUpper(r.text("provider"))
	if provider != "" && provider != "OKTA" && provider != "GOOGLE" {
		return refuse(http.StatusBadRequest, textOktaProvider, provider)
	}
	o.mu.Lock()
	pushes, hasCodes, number := o.pushes && provider != "GOOGLE", o.codes != nil, o.number
	good := slices.Index(o.codes, code)
	if hasCodes && good >= 0 {
		o.codes = slices.Delete(o.codes, good, good+1)
	}
	o.mu.Unlock()
	switch {
	case hasCodes && code != "" && good < 0:
		return refuse(http.StatusBadRequest, textOktaFailed)
	case hasCodes && code != "":
		return nil
	case !pushes && hasCodes:
		return refuse(http.StatusBadRequest, textOktaCode)
	case !pushes:
		return refuse(http.StatusBadRequest, textOktaNoFactor)
	case number != nil && nonce == "":
		return refuse(http.StatusBadRequest, textOktaNonce)
	case number != nil:
		o.show(nonce, *number)
		defer o.hide(nonce)
	}
	if err := o.send(r.ctx, o.ns.s.done); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	return nil
}

func (o *Okta) show(nonce string, number int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.numbers[nonce] = number
}

func (o *Okta) hide(nonce string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.numbers, nonce)
}

// answer is that of auth/okta/verify/NONCE; nil, for a 404, as long as there is none.
func (o *Okta) answer(nonce string) *response {
	o.mu.Lock()
	defer o.mu.Unlock()
	number, ok := o.numbers[nonce]
	if !ok || o.hold {
		return nil
	}
	return &response{mountType: "okta", data: map[string]any{"correct_answer": json.Number(strconv.Itoa(number))}}
}

// oktaVerify is the mount and the nonce that a request asks for the number of, nil when
// it does something else.
func (s *Server) oktaVerify(r *request) (o *Okta, nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, rest := r.ns.mountLocked(r.path)
	nonce, ok := strings.CutPrefix(rest, "verify/")
	if m == nil || m.okta == nil || !ok || nonce == "" || r.op != opRead {
		return nil, ""
	}
	return m.okta, nonce
}

// renewalFactor logs in with Okta once more when a token of such a login is renewed. A
// renewal has no nonce.
func (s *Server) renewalFactor(r *request) error {
	rest, ok := strings.CutPrefix(r.path, "auth/token/renew")
	if !ok || r.op != opUpdate || !slices.Contains([]string{"", "-self", "-accessor"}, rest) {
		return nil
	}
	s.mu.Lock()
	t, err := s.renewedLocked(r)
	s.mu.Unlock()
	if err != nil || t.okta == nil {
		return err
	}
	again := *r
	again.data = nil
	return t.okta.factor(&again)
}

// bodyFactor is the second factor that is part of a login's own body.
func (s *Server) bodyFactor(r *request, m *mount) error {
	s.mu.Lock()
	okta, duo := m.okta, m.duo
	s.mu.Unlock()
	switch {
	case okta != nil:
		return okta.factor(r)
	case duo != nil:
		return duo.factor(r)
	}
	return nil
}

func (m *mount) badPassword() string {
	if m.okta != nil {
		return textOktaFailed
	}
	return textBadPassword
}
