package devvault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Push is the phone of a push method. It holds the open pushes and decides them. Its
// methods may be called by any goroutine.
type Push struct {
	kind    string
	timeout time.Duration

	mu      sync.Mutex
	waiting []*pending    // oldest first
	sent    int           // ever
	always  *bool         // the answer to every push, nil to wait for one
	changed chan struct{} // closed and replaced when waiting grows
	codes   []string      // of Duo: passcodes that will be accepted, each once
	asks    bool          // of Duo: use_passcode
	outage  error         // the result of every validation; nil while the provider is up
}

// A pending is a push without a decision.
type pending struct{ decided chan bool } // holds one

// AddPushMethod adds a method of type okta, duo or pingid, for Login MFA and, in the
// root namespace, for step-up. A request that needs it blocks until the Push is
// approved or denied, its time is over, or the client leaves.
func (n *Namespace) AddPushMethod(name, kind string) *Push {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	p := &Push{kind: kind, timeout: n.s.cfg.PushTimeout, changed: make(chan struct{})}
	n.addMethodLocked(&method{name: name, kind: kind, push: p})
	return p
}

// Approve lets the oldest push that waits pass; false means that none waits.
func (p *Push) Approve() bool { return p.decide(true) }

// Deny refuses the oldest push that waits; false means that none waits.
func (p *Push) Deny() bool { return p.decide(false) }

// Always decides every push from now on at once.
func (p *Push) Always(approve bool) {
	p.mu.Lock()
	p.always = &approve
	p.mu.Unlock()
	for p.decide(approve) {
	}
}

// AcceptPasscodes are codes that a Duo method takes instead of a push, each once, from
// now on.
func (p *Push) AcceptPasscodes(codes ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes = append(p.codes, codes...)
}

// UsePasscode sets use_passcode in the configuration of a Duo method. Login MFA reports
// it; without a code, Vault still sends a push.
func (p *Push) UsePasscode() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks = true
}

// usesPasscode reports uses_passcode, as Login MFA shows it.
func (p *Push) usesPasscode() bool {
	if p == nil {
		return true // TOTP
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

// Outage makes the provider unreachable for Vault until it is called with "": every
// validation fails with text, in the words of Vault's client. Login MFA shows it; step-up
// shows it with status, or with 0 hides it behind the usual denial, as Enterprise does.
func (p *Push) Outage(text string, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case text == "":
		p.outage = nil
	case status == 0:
		p.outage = errors.New(text)
	default:
		p.outage = &fault{status: status, texts: []string{multiError(text)}}
	}
}

// validate takes a passcode where the provider has them, or sends a push.
func (p *Push) validate(ctx context.Context, done <-chan struct{}, code string) error {
	p.mu.Lock()
	outage := p.outage
	i := slices.Index(p.codes, code)
	if code != "" && i >= 0 && outage == nil {
		p.codes = slices.Delete(p.codes, i, i+1)
	}
	p.mu.Unlock()
	switch {
	case outage != nil:
		return outage
	case code == "" || p.kind != "duo":
		return p.send(ctx, done)
	case i < 0:
		return fmt.Errorf("duo authentication failed: %q", "Incorrect passcode. Please try again.")
	}
	return nil
}

// Pending counts the open pushes.
func (p *Push) Pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// Sent counts all pushes.
func (p *Push) Sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// Wait blocks until a push is open, or returns the error of ctx.
func (p *Push) Wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		n, changed := len(p.waiting), p.changed
		p.mu.Unlock()
		if n > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Push) decide(approve bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return false
	}
	p.waiting[0].decided <- approve
	p.waiting = p.waiting[1:]
	return true
}

// send sends a push and blocks until it is decided. The error says why it was not approved,
// in the words of the provider's client in Vault.
func (p *Push) send(ctx context.Context, done <-chan struct{}) error {
	mine := &pending{decided: make(chan bool, 1)}
	p.mu.Lock()
	p.sent++
	if p.always != nil {
		mine.decided <- *p.always
	} else {
		p.waiting = append(p.waiting, mine)
		close(p.changed)
		p.changed = make(chan struct{})
	}
	p.mu.Unlock()

	timer := time.NewTimer(p.timeout)
	defer timer.Stop()
	select {
	case approved := <-mine.decided:
		if !approved {
			return p.reason("explicitly rejected", "Login request denied.")
		}
		return nil
	case <-timer.C:
		p.forget(mine)
		return p.reason("timed out", "Login timed out.")
	case <-ctx.Done():
	case <-done:
	}
	p.forget(mine)
	return p.reason("operation canceled", "")
}

// The kinds of a push that is part of a login's own body.
const (
	kindOktaLogin = "okta login"
	kindLegacyDuo = "legacy duo"
)

// reason is the provider's refusal as its client in Vault words it; duo is the text of Duo
// itself, "" when the push was given up.
func (p *Push) reason(word, duo string) error {
	switch {
	case p.kind == kindOktaLogin:
		return errors.New(map[string]string{
			"explicitly rejected": textOktaDenied, "timed out": textOktaTimeout, "operation canceled": textOktaCanceled,
		}[word])
	case p.kind == kindLegacyDuo:
		return errors.New(cmp.Or(duo, textDuoNoAuth))
	case p.kind == "duo" && duo == "":
		return errors.New("duo push verification " + word)
	case p.kind == "duo":
		return fmt.Errorf("duo authentication failed: %q", duo)
	}
	return errors.New("push verification " + word)
}

func (p *Push) forget(mine *pending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w *pending) bool { return w == mine })
}
