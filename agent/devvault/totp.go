package devvault

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// Parameters of every TOTP method: Vault's defaults, and what phones can do.
const (
	totpPeriod   = 30 // seconds
	totpSkew     = 1
	totpDigits   = otp.DigitsSix
	totpAttempts = 5 // per method, entity and period
)

// A method is one MFA method.
type method struct {
	id, name string
	kind     string // totp, duo, okta, pingid
	ns       *Namespace
	push     *Push // nil for totp

	selfEnrol bool // people may make their own secret; guarded by the Server's mu

	// Guarded by the Server's mu.
	used     map[string]time.Time // passcodes that were accepted, and until when they are remembered
	attempts map[string]attempts  // by ID of the entity
}

type attempts struct {
	n     int
	until time.Time
}

// A seed is a person's secret for a TOTP method, in base32.
type seed string

// String keeps a seed out of logs.
func (seed) String() string { return "[redacted]" }

// fullName is how a client may name a method: with the path of its namespace.
func (m *method) fullName() string { return m.ns.path + m.name }

// AddTOTPMethod adds a TOTP method with 6 digits and 30 s, for Login MFA and, in the
// root namespace, for step-up. It returns the method's ID.
func (n *Namespace) AddTOTPMethod(name string) (id string) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	m := &method{name: name, kind: "totp", used: make(map[string]time.Time), attempts: make(map[string]attempts)}
	n.addMethodLocked(m)
	return m.id
}

// EnrolTOTP gives a person a seed for a method, replacing the one they had. Both are
// a name or an ID. The URL is what Vault shows as a QR code, secret its base32 seed.
func (n *Namespace) EnrolTOTP(method, entity string) (url, secret string, err error) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	m, e := n.methodLocked(method), n.findEntityLocked(entity)
	if m == nil || m.push != nil || e == nil {
		return "", "", fmt.Errorf("enrolling %q for TOTP method %q: there is no such method or entity", entity, method)
	}
	key, err := newKey(e)
	if err != nil {
		return "", "", fmt.Errorf("enrolling %q for TOTP method %q: %w", entity, method, err)
	}
	e.seeds[m.id] = seed(key.Secret())
	return key.URL(), key.Secret(), nil
}

// Code is the code that the user's app shows now, "" when they are not enrolled and not about
// to be. Both are a name or an ID.
func (n *Namespace) Code(method, entity string) string {
	return n.codes(method, entity).at(0)
}

// UnusedCode is a code that is accepted now and was not used before, "" when the three that
// Vault accepts have all been used. It saves a demo from waiting for the next period.
func (n *Namespace) UnusedCode(method, entity string) string {
	c := n.codes(method, entity)
	for _, step := range []int{0, 1, -1} {
		if code := c.at(step); code != "" && !c.used(code) {
			return code
		}
	}
	return ""
}

// codes is what Code and UnusedCode look at, taken under the lock.
type codes struct {
	seed seed // "" when not enrolled
	now  time.Time
	mem  map[string]time.Time
}

func (n *Namespace) codes(method, entity string) codes {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	m, e := n.methodLocked(method), n.findEntityLocked(entity)
	if m == nil || e == nil {
		return codes{}
	}
	sd, ok := e.seeds[m.id]
	if !ok {
		sd = n.s.pendingLocked(m, e)
	}
	return codes{seed: sd, now: n.s.now(), mem: maps.Clone(m.used)}
}

// at is the code a number of periods from now, "" without a seed.
func (c codes) at(step int) string {
	if c.seed == "" {
		return ""
	}
	t := c.now.Add(time.Duration(step) * totpPeriod * time.Second)
	code, err := totp.GenerateCodeCustom(string(c.seed), t, totp.ValidateOpts{Period: totpPeriod, Digits: totpDigits})
	if err != nil {
		return "" // only for a seed that EnrolTOTP cannot make
	}
	return code
}

func (c codes) used(code string) bool { return c.now.Before(c.mem[code]) }

// fresh refuses a passcode of the wrong length and one that was accepted before. Codes are
// remembered per method, not per person, as Vault does.
func (m *method) fresh(code string, now time.Time) error {
	if len(code) != totpDigits.Length() || now.Before(m.used[code]) {
		return errors.New(textWrongCode)
	}
	return nil
}

// countAttempt refuses more than 5 codes per person and period. Used codes never get
// here, so they do not count (vault/login_mfa.go, validateTOTP).
func (m *method) countAttempt(entityID string, now time.Time) error {
	a := m.attempts[entityID]
	if !now.Before(a.until) {
		a = attempts{until: now.Add(totpPeriod * time.Second)}
	}
	if a.n == totpAttempts {
		return fmt.Errorf(textTooMany, a.n+1, totpAttempts, totpPeriod*time.Second)
	}
	a.n++
	m.attempts[entityID] = a
	return nil
}

// accept checks a fresh code, and remembers it for as long as it could be right.
func (m *method) accept(sd seed, entityID, code string, now time.Time) error {
	ok, err := totp.ValidateCustom(code, string(sd), now, totp.ValidateOpts{
		Period: totpPeriod, Skew: totpSkew, Digits: totpDigits,
	})
	if err != nil || !ok {
		return errors.New(textWrongCode)
	}
	maps.DeleteFunc(m.used, func(_ string, until time.Time) bool { return !now.Before(until) })
	m.used[code] = now.Add(totpPeriod * (2 + totpSkew) * time.Second)
	delete(m.attempts, entityID)
	return nil
}
