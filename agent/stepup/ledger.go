package stepup

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/cache"
)

// codeMemory is how long a code is not sent again. Vault itself remembers one
// for its period times (2 + skew), 90 s by default.
const codeMemory = 3 * time.Minute

// waitMemory is how long a no is kept for those that waited for it: longer than
// any prompt is open.
const waitMemory = 10 * time.Minute

// A turnKey names what is decided one at a time: the requests of one caller
// under one rule, or the logins on one path.
type turnKey struct {
	cache.Key
	Path string // of a login, which has no caller yet
}

// A Ledger remembers across requests, vaults and reloads: whose turn it is, which
// callers are cooling down, which codes were sent, which tokens are being stepped up to,
// and which requests share a try. The zero value is not usable; see NewLedger. It
// owns a goroutine for each flight and shared try, which Close ends.
type Ledger struct {
	secret    [32]byte // keeps codes from being kept in the clear
	approvals approvals
	callers   callers

	mu      sync.Mutex // guards what follows; never held while anything is waited for
	turns   map[turnKey]*turn
	cooling map[turnKey]decision
	codes   map[[sha256.Size]byte]time.Time
	methods map[string]time.Time    // when a method's last code was sent
	denials map[turnKey][]time.Time // the latest, by topic
	silent  map[turnKey]bool        // topics that were denied too often
	// Times of the latest questions by topic, since Vault accepted a factor.
	questions map[turnKey][]time.Time
	resumed   time.Time // when a command ended the silence last
	asked     map[turnKey]map[*openQuestion]bool
	origins   origins                 // which tokens Okta gave out
	flights   map[turnKey]*flight     // those of enrolments have a path
	flying    context.Context         // of the flights that run now
	cancel    context.CancelCauseFunc // ends flying
	aloft     *sync.WaitGroup         // one for each flight under flying
	closed    bool
	landing   sync.WaitGroup // one for each flight

	tries   map[sameKey]*sharedTry
	living  context.Context // of shared tries and their answers
	end     context.CancelFunc
	sharing sync.WaitGroup // one for each of those
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	l := &Ledger{
		turns:   make(map[turnKey]*turn),
		cooling: make(map[turnKey]decision),
		codes:   make(map[[sha256.Size]byte]time.Time),
		methods: make(map[string]time.Time),
		denials: make(map[turnKey][]time.Time),
		silent:  make(map[turnKey]bool),

		questions: make(map[turnKey][]time.Time),
		asked:     make(map[turnKey]map[*openQuestion]bool),
		flights:   make(map[turnKey]*flight),
		tries:     make(map[sameKey]*sharedTry),
		origins:   origins{mounts: make(map[string]string)},
	}
	l.living, l.end = context.WithCancel(context.Background())
	l.newContextLocked()
	_, _ = rand.Read(l.secret[:]) // never fails (crypto/rand)
	return l
}

// A turn is a queue of requests that would ask the same person the same thing.
type turn struct {
	slot  chan struct{}
	users int
}

// enter waits for the turn of k. The caller must leave it.
func (l *Ledger) enter(ctx context.Context, k turnKey) error {
	l.mu.Lock()
	t, ok := l.turns[k]
	if !ok {
		t = &turn{slot: make(chan struct{}, 1)}
		l.turns[k] = t
	}
	t.users++
	l.mu.Unlock()
	select {
	case t.slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.drop(k, t)
		return ctx.Err()
	}
}

func (l *Ledger) leave(k turnKey) {
	l.mu.Lock()
	t := l.turns[k]
	l.mu.Unlock()
	<-t.slot
	l.drop(k, t)
}

func (l *Ledger) drop(k turnKey, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.turns, k)
	}
}

// A decision is a no that holds for a while.
type decision struct {
	verdict mfa.Verdict
	at      time.Time
	until   time.Time
}

// cool starts the cool-down of k.
func (l *Ledger) cool(k turnKey, v mfa.Verdict, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for key, old := range l.cooling {
		if now.After(old.until) && now.Sub(old.at) > waitMemory {
			delete(l.cooling, key)
		}
	}
	l.cooling[k] = decision{verdict: v, at: now, until: now.Add(d)}
}

// warm ends the cool-down of k, after a yes.
func (l *Ledger) warm(k turnKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.cooling, k)
}

// cooled returns the verdict that holds for a request on k which began at
// arrived: the no itself for those that waited for it, a cool-down for later ones.
func (l *Ledger) cooled(k turnKey, arrived time.Time) (mfa.Verdict, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.cooling[k]
	left := time.Until(d.until)
	switch {
	case !ok:
		return mfa.Verdict{}, false
	case d.at.After(arrived):
		return d.verdict, true // however long its turn took to come
	case left <= 0:
		return mfa.Verdict{}, false
	}
	return mfa.Verdict{Outcome: mfa.Cooldown, Message: coolingDown(d.verdict, left)}, true
}

// spend marks codes, by method, as sent and reports whether they may be: a code
// goes to Vault at most once, because Vault burns it even where the request
// fails, and counts the repetition as an attack. Either all are marked or none.
func (l *Ledger) spend(codes map[string]string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for old, at := range l.codes {
		if now.Sub(at) > codeMemory {
			delete(l.codes, old)
		}
	}
	for method, code := range codes {
		if _, sent := l.codes[l.sum(method, code)]; sent {
			return false
		}
	}
	for method, code := range codes {
		l.codes[l.sum(method, code)], l.methods[method] = now, now
	}
	return true
}

// sent reports whether a code of a method was sent already.
func (l *Ledger) sent(method, code string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.codes[l.sum(method, code)]
	return ok && time.Since(at) <= codeMemory
}

// sum stands for a code, which is never kept in the clear.
func (l *Ledger) sum(method, code string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, l.secret[:])
	h.Write([]byte(method + "\x00" + code))
	h.Sum(sum[:0])
	return sum
}

// usedLately reports whether the code that a device shows now may be one that
// was sent already: a period is 30 s by default.
func (l *Ledger) usedLately(method string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.methods[method]
	return ok && time.Since(at) < 30*time.Second
}
