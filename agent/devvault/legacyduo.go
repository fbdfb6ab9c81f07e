package devvault

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// A LegacyDuo is Duo as the MFA of one auth mount of Vault up to 1.10. Nothing announces
// it: a login that does not mention it sends a push. The Push is the phone of every user.
// Methods may be called by any goroutine.
type LegacyDuo struct {
	*Push
	done <-chan struct{}

	mu    sync.Mutex
	codes []string // right once each
	fails string   // the refusal of every login, "" for none
	lower bool     // the texts of 1.10 begin with a small letter
}

// AddLegacyDuo puts Duo before the logins at auth/MOUNT, an LDAP mount that is made when
// it is not there. Add users with [Namespace.AddUser].
func (n *Namespace) AddLegacyDuo(mount string) *LegacyDuo {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	path := authPath(mount)
	if n.mounts[path] == nil {
		n.mounts[path] = newMount(path, "ldap", "")
	}
	d := &LegacyDuo{
		Push: &Push{kind: kindLegacyDuo, timeout: n.s.cfg.PushTimeout, changed: make(chan struct{})}, done: n.s.done,
	}
	n.mounts[path].duo = d
	return d
}

// Codes are right from now on, each for one login.
func (d *LegacyDuo) Codes(codes ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.codes = codes
}

// A DuoProblem is why Duo refuses a login without a push.
type DuoProblem string

// The problems of a LegacyDuo.
const (
	DuoWorks        DuoProblem = ""
	DuoUnconfigured DuoProblem = textDuoNoConfig
	DuoUnreachable  DuoProblem = textDuoNoPreauth
	DuoWrongKey     DuoProblem = textDuoLookup
	DuoLocked       DuoProblem = textDuoLocked
)

// Fail refuses every login from now on; DuoWorks ends that.
func (d *LegacyDuo) Fail(why DuoProblem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = string(why)
}

// Unenrolled refuses every login from now on, and says at which address to enrol.
func (d *LegacyDuo) Unenrolled(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = strings.Replace(textDuoUnenrolled, "%s", address, 1)
}

// LowerCase makes Vault's own texts begin with a small letter, as in 1.10; those of Duo stay.
func (d *LegacyDuo) LowerCase() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lower = true
}

// factor checks the passcode, or sends a push if there is none, whatever "method" is.
func (d *LegacyDuo) factor(r *request) error {
	code := r.text("passcode")
	d.mu.Lock()
	fails := d.fails
	good := slices.Index(d.codes, code)
	if fails == "" && good >= 0 {
		d.codes = slices.Delete(d.codes, good, good+1)
	}
	d.mu.Unlock()
	switch {
	case fails != "":
		return d.refuse(fails)
	case good >= 0:
		return nil
	case code != "":
		return d.refuse(textDuoWrongCode)
	}
	if err := d.send(r.ctx, d.done); err != nil {
		return d.refuse(err.Error())
	}
	return nil
}

func (d *LegacyDuo) refuse(text string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rest, ours := strings.CutPrefix(text, "C"); ours && d.lower {
		text = "c" + rest
	}
	return refuse(http.StatusBadRequest, "%s", text)
}
