// Package notice tells the person of uses of step-up tokens that they may not expect: by another
// program than the one that asked, and after a pause.
package notice

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/peer"
	"github.com/vault-stepup/stepup/agent/stepup/factor"
	"github.com/vault-stepup/stepup/agent/stepup/state"
	"github.com/vault-stepup/stepup/cache"
	"github.com/vault-stepup/stepup/prompt"
)

// A Mode says which uses the person is told of.
type Mode string

// The words of the configuration.
const (
	First Mode = "first" // the first of each program but the one that asked, and the first after a pause
	Each  Mode = "each"
	Never Mode = "never"
)

const (
	// idle is the pause after which a use is the first one again.
	idle = 10 * time.Minute
	// gap is how long the uses under one rule are gathered before they replace what is on the
	// screen: a program that sends a thousand requests must not bring a thousand
	// notifications.
	gap = 3 * time.Second
	// open is how long the button is there.
	open = 10 * time.Minute

	maxTokens   = 1024 // that are remembered; after that, all are as new
	maxPrograms = 64   // of one token, likewise
	maxNamed    = 3    // programs that one notification names
)

// A Shower shows a use on the desktop. *notification.Prompter is one.
type Shower interface {
	// ShowUse blocks until the person has closed it, or pressed its button, or ctx ends.
	ShowUse(ctx context.Context, r prompt.Request) (lock bool, err error)
}

// A Watcher implements [state.Observer]. No request waits for it.
type Watcher struct {
	lock func(ctx context.Context, rule string)
	log  *slog.Logger
	all  sync.WaitGroup // a goroutine for each rule with something to tell

	mu     sync.Mutex
	mode   Mode
	shower Shower // nil where no desktop is asked
	tokens map[cache.Key]*token
	feeds  map[string]*feed // by rule; of those with a goroutine
	closed context.Context  //nolint:containedctx // ends with Close
	close  context.CancelFunc
}

var _ state.Observer = (*Watcher)(nil)

// A token is what is known of the uses of one.
type token struct {
	programs map[string]bool // whose use needs no word any more
	last     time.Time       // of its uses, or when it was made
}

// A feed is what is to be told under a rule.
type feed struct {
	next *batch        // nil where nothing is new
	news chan struct{} // holds one element while next is set
}

// A batch is what one notification tells.
type batch struct {
	first prompt.Request
	names []string // of the programs after the first
	more  int      // uses after the first
}

// New returns a Watcher that the caller must Close. It tells nothing before Configure. lock ends
// the step-ups of a rule; it may block.
func New(lock func(ctx context.Context, rule string), log *slog.Logger) *Watcher {
	w := &Watcher{lock: lock, log: log, mode: Never, tokens: make(map[cache.Key]*token), feeds: make(map[string]*feed)}
	w.closed, w.close = context.WithCancel(context.Background())
	return w
}

// Configure replaces the mode. Uses are shown by the first of the prompters that is a Shower;
// without one, the person is told nothing.
func (w *Watcher) Configure(m Mode, all []prompt.Named) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode, w.shower = m, nil
	for _, p := range all {
		if s, ok := p.Prompter.(Shower); ok && w.shower == nil {
			w.shower = s
		}
	}
}

// Close takes every notification down, and waits for that.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.close()
	w.mu.Unlock()
	w.all.Wait()
}

// Made implements [state.Observer].
func (w *Watcher) Made(k cache.Key, by peer.Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &token{programs: make(map[string]bool), last: time.Now().Round(0)}
	if id := program(by); id != "" { // the first use of one that cannot be told is shown
		t.programs[id] = true
	}
	w.rememberLocked(k, t)
}

// Used implements [state.Observer].
func (w *Watcher) Used(k cache.Key, u state.Use) {
	if why, tell := w.note(k, u); tell {
		w.tell(request(k, u, why))
	}
}

// note remembers a use, and reports whether the person is told of it; why says what makes it a
// first one, "" where it is none.
func (w *Watcher) note(k cache.Key, u state.Use) (why string, tell bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.tokens[k]
	if !ok { // it was kept in the keyring
		t = &token{programs: make(map[string]bool)}
		w.rememberLocked(k, t)
	}
	by := program(u.Peer)
	pause := u.Time.Sub(t.last)
	switch {
	case !ok:
		why = "the first use since the agent started"
	case !t.programs[by]:
		why = "another program than the one that asked for it"
	case pause >= idle:
		why = fmt.Sprintf("the first use for %d min", int(pause.Minutes()))
	}
	if len(t.programs) >= maxPrograms {
		clear(t.programs)
	}
	t.programs[by] = true
	if u.Time.After(t.last) {
		t.last = u.Time
	}
	return why, w.shower != nil && (w.mode == Each || w.mode == First && why != "")
}

func (w *Watcher) rememberLocked(k cache.Key, t *token) {
	if len(w.tokens) >= maxTokens {
		clear(w.tokens)
	}
	w.tokens[k] = t
}

// program tells programs apart: by the executable, and the scripts of an interpreter by what it
// says of itself. All that cannot be told are one.
func program(p peer.Peer) string {
	id := cmp.Or(p.Program.ID, p.Exe)
	if p.RunsScripts() {
		id += " " + p.Claim
	}
	return id
}

// request is what a notification shows of a use. It looks at the process once more.
func request(k cache.Key, u state.Use, why string) prompt.Request {
	return prompt.Request{
		Rule: k.Rule, Vault: k.VaultName(), Namespace: k.Namespace, Operation: u.Operation, Path: u.Path,
		Requester: factor.Requester(u.Peer), Message: why,
	}
}

// tell has a use shown.
func (w *Watcher) tell(r prompt.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed.Err() != nil {
		return
	}
	f, running := w.feeds[r.Rule]
	if !running {
		f = &feed{news: make(chan struct{}, 1)}
		w.feeds[r.Rule] = f
		w.all.Go(func() { w.run(r.Rule, f) })
	}
	if f.next != nil {
		f.next.add(r)
		return
	}
	f.next = &batch{first: r}
	f.news <- struct{}{}
}

func (b *batch) add(r prompt.Request) {
	b.more++
	name := r.Sanitized().Requester.ShortName()
	if name != b.first.Sanitized().Requester.ShortName() && !slices.Contains(b.names, name) {
		b.names = append(b.names, name)
	}
	if len(b.names) > maxNamed {
		b.names[maxNamed] = "others"
		b.names = b.names[:maxNamed+1]
	}
}

// request is what the notification shows.
func (b *batch) request() prompt.Request {
	r := b.first
	if b.more > 0 {
		r.Message = strings.TrimPrefix(r.Message+"; "+fmt.Sprintf("%d more uses since", b.more), "; ")
	}
	if len(b.names) > 0 {
		r.Message += ", also by " + strings.Join(b.names, ", ")
	}
	return r
}

// run shows what is to be told under a rule: each batch in the place of the one before. It ends
// when nothing is on the screen and nothing is new.
func (w *Watcher) run(rule string, f *feed) {
	var shown chan struct{} // closed when the notification is gone
	takeDown := func() {}
	defer func() { takeDown() }()
	for {
		select {
		case <-f.news:
		case <-shown:
			if w.done(rule, f) {
				return
			}
			shown = nil
			continue
		case <-w.closed.Done():
			return
		}
		takeDown()
		shown = make(chan struct{})
		takeDown = w.show(w.take(f), shown)
		select {
		case <-time.After(gap):
		case <-w.closed.Done():
		}
	}
}

// done forgets a feed without news.
func (w *Watcher) done(rule string, f *feed) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.next == nil {
		delete(w.feeds, rule)
	}
	return f.next == nil
}

func (w *Watcher) take(f *feed) prompt.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := f.next.request()
	f.next = nil
	return r
}

// show has r on the screen until the returned function is called, and closes shown when it is
// gone.
func (w *Watcher) show(r prompt.Request, shown chan struct{}) (takeDown func()) {
	ctx, cancel := context.WithTimeout(w.closed, open)
	w.mu.Lock()
	shower := w.shower
	w.mu.Unlock()
	go func() {
		defer close(shown)
		defer cancel()
		if shower == nil {
			return
		}
		switch lock, err := shower.ShowUse(ctx, r); {
		case err != nil && ctx.Err() == nil:
			w.log.Debug("the use of a step-up is not shown", "rule", r.Rule, "error", err)
		case lock:
			w.lock(context.WithoutCancel(ctx), r.Rule)
		}
	}()
	return func() { cancel(); <-shown }
}
