package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// period and skew are Vault's defaults; a used code is refused for
// period*(2+skew).
const (
	period = 30
	skew   = 1
)

// A method validates one factor of an entity. values is nil when the request
// did not name the method.
type method interface {
	validate(ctx context.Context, entity string, values []string) error
}

// TOTP is a method whose secrets and used codes the gate keeps itself.
type TOTP struct {
	now     func() time.Time
	mu      sync.Mutex
	secrets map[string]string // by entity
	used    map[string]time.Time
}

// AddTOTP declares a method; policies refer to it by name.
func (g *Gate) AddTOTP(name string) *TOTP {
	t := &TOTP{now: g.now, secrets: map[string]string{}, used: map[string]time.Time{}}
	g.methods[name] = t
	return t
}

// Enroll gives an entity a new secret, base32 as authenticator apps want it.
func (t *TOTP) Enroll(entity string) (secret string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "gate", AccountName: entity, Period: period, SecretSize: 20})
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets[entity] = key.Secret()
	return key.Secret(), nil
}

func (t *TOTP) validate(_ context.Context, entity string, values []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	secret, ok := t.secrets[entity]
	switch {
	case !ok:
		return errors.New("no secret in entity")
	case len(values) == 0:
		return errors.New("MFA credentials not supplied")
	case len(values) > 1:
		return errors.New("more than one TOTP passcode supplied")
	}
	code, now := values[0], t.now()
	// The library trims blanks; Vault does not get that far with them.
	if len(code) != 6 {
		return errors.New("wrong length")
	}
	if until, ok := t.used[code]; ok && now.Before(until) {
		return errors.New("code already used")
	}
	valid, err := totp.ValidateCustom(code, secret, now, totp.ValidateOpts{
		Period: period, Skew: skew, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil || !valid {
		return errors.New("failed to validate TOTP passcode")
	}
	t.used[code] = now.Add(period * (2 + skew) * time.Second)
	return nil
}

// AddPush declares a method that needs no passcode: decide blocks until the push
// is decided, and an error is a refusal. ctx ends when the client leaves.
func (g *Gate) AddPush(name string, decide func(ctx context.Context, entity string) error) {
	g.methods[name] = push(decide)
}

// AddPasscodes declares a method whose codes the test knows: each is right as often as right says.
func (g *Gate) AddPasscodes(name string, right func(code string) bool) {
	g.methods[name] = passcodes(right)
}

type passcodes func(code string) bool

func (p passcodes) validate(_ context.Context, _ string, values []string) error {
	if len(values) != 1 || !p(values[0]) {
		return errors.New("wrong code")
	}
	return nil
}

type push func(ctx context.Context, entity string) error

func (p push) validate(ctx context.Context, entity string, _ []string) error { return p(ctx, entity) }

// satisfied asks every method, in order. A code that was right is used up even
// if a later factor fails.
func (g *Gate) satisfied(ctx context.Context, entity string, names []string, creds map[string][]string) bool {
	if entity == "" {
		return false
	}
	for _, name := range names {
		m, ok := g.methods[name]
		if !ok || m.validate(ctx, entity, creds[name]) != nil {
			return false
		}
	}
	return true
}

// parseCreds reads X-Vault-MFA as Vault does (http/handler.go, parseMFAHeader):
// one method a line, no commas, no trimming.
func parseCreds(h http.Header) (map[string][]string, error) {
	creds := map[string][]string{}
	for _, line := range h.Values("X-Vault-MFA") {
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		switch {
		case !ok:
			creds[line] = []string{}
		case name == "":
			return nil, fmt.Errorf("missing method name or ID")
		case value == "":
			return nil, fmt.Errorf("missing method value")
		default:
			creds[name] = append(creds[name], value)
		}
	}
	return creds, nil
}
