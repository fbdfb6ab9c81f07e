package state

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// codeMemory is how long a code is not sent again. Vault itself remembers one
	// for its period times (2 + skew), 90 s by default.
	codeMemory = 3 * time.Minute
	// codePeriod is how long a device shows one code, by default.
	codePeriod = 30 * time.Second
)

// Codes remembers which passcodes were sent, by HMAC: none is kept in the clear.
type Codes struct {
	key [32]byte

	mu   sync.Mutex
	used map[[sha256.Size]byte]time.Time
	last map[string]time.Time // when the last code of a method was sent

	wrong map[string]time.Time // when the first wrong code of a method was sent, of those that count
}

// MarkUsed marks codes, by method, as sent and reports whether they may be: a code
// goes to Vault at most once, because Vault burns it even where the request fails, and
// counts the repetition as an attack. Either all are marked or none.
func (c *Codes) MarkUsed(codes map[string]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for old, at := range c.used {
		if now.Sub(at) > codeMemory {
			delete(c.used, old)
		}
	}
	for method, code := range codes {
		if _, used := c.used[c.sum(method, code)]; used {
			return false
		}
	}
	if c.used == nil {
		c.used, c.last = make(map[[sha256.Size]byte]time.Time), make(map[string]time.Time)
	}
	for method, code := range codes {
		c.used[c.sum(method, code)], c.last[method] = now, now
	}
	return true
}

// WasUsed reports whether a code of a method was sent already.
func (c *Codes) WasUsed(method, code string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.used[c.sum(method, code)]
	return ok && time.Since(at) <= codeMemory
}

// NextAt returns when a device shows a code of a method that was not sent yet, at the
// latest; the zero time where the code that it shows now is such a one.
func (c *Codes) NextAt(method string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.last[method]
	if !ok || time.Since(at) >= codePeriod {
		return time.Time{}
	}
	return at.Add(codePeriod)
}

// RecordWrong counts a wrong code of a method. Vault counts those of one period together,
// from the first of them on (vault/login_mfa.go, validateTOTP).
func (c *Codes) RecordWrong(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.wrong[method]; ok && time.Since(at) < codePeriod {
		return
	}
	if c.wrong == nil {
		c.wrong = make(map[string]time.Time)
	}
	c.wrong[method] = time.Now()
}

// ForgetWrong ends the count of wrong codes of a method.
func (c *Codes) ForgetWrong(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.wrong, method)
}

// LockedFor is how much is left of a lock that Vault says to last for told. Vault tells the
// whole of it however late one asks, although it began with the first wrong code.
func (c *Codes) LockedFor(method string, told time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.wrong[method]
	if passed := time.Since(at); ok && passed < told {
		return told - passed
	}
	return told
}

func (c *Codes) sum(method, code string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, c.key[:])
	h.Write([]byte(method + "\x00" + code))
	h.Sum(sum[:0])
	return sum
}
