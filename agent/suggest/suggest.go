// Package suggest writes rules for the paths on which Vault probably wants a second
// factor that no rule of the configuration names.
package suggest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// Bounds of the work and of the memory for denials: programs decide how many of them
// there are, and of which paths.
const (
	workers    = 2
	maxQueue   = 64
	pause      = 250 * time.Millisecond // of a worker, between two questions
	askAgain   = 10 * time.Minute       // until Vault is asked about the same request again
	maxChecked = 1024
	maxFound   = 64
	maxPath    = 1024
)

// A Config is what a [Suggester] needs. All fields are required.
type Config struct {
	// Capabilities asks a vault for the capabilities of a token on the path of a
	// request.
	Capabilities func(ctx context.Context, vault string, q rule.Request, token secret.Secret) ([]string, error)
	// Identify returns a name of a caller that does not reveal its token.
	Identify func(token secret.Secret) string
	// Found is called once for each new path.
	Found func(control.Suggestion)
}

// A Suggester finds the paths that want a second factor and have no rule. Vault gives
// no reason for its 403, but sys/capabilities-self shows whether policies grant the
// request. If they do, mfa_methods are the most likely cause of the denial. The
// workers ask after the app has its answer.
type Suggester struct {
	config  Config
	queue   chan denial
	working sync.WaitGroup
	cancel  context.CancelFunc // nil before Start

	mu      sync.Mutex // guards what follows
	checked map[denialKey]time.Time
	found   map[pathKey]control.Suggestion
}

// A denial is one 403.
type denial struct {
	vault   string
	request rule.Request
	Token   secret.Secret // the caller's own
}

type denialKey struct {
	vault, caller string
	request       rule.Request
}

type pathKey struct{ vault, namespace, path string }

// New returns a suggester that has found nothing. Its workers begin with
// [Suggester.Start].
func New(c Config) *Suggester {
	return &Suggester{
		config:  c,
		queue:   make(chan denial, maxQueue),
		checked: make(map[denialKey]time.Time),
		found:   make(map[pathKey]control.Suggestion),
	}
}

// Start starts the workers. The end of ctx does not stop them; [Suggester.Close]
// does. Call it once.
func (s *Suggester) Start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range workers {
		s.working.Go(func() { s.work(ctx) })
	}
}

// Close stops the workers and waits for them.
func (s *Suggester) Close() {
	if s.cancel != nil {
		s.cancel()
	}
	s.working.Wait()
}

// An Observer passes the denials of one vault to a suggester. It implements
// relay.DenialObserver.
type Observer struct {
	suggester *Suggester
	vault     string
}

// Observer returns the observer for a vault.
func (s *Suggester) Observer(vault string) Observer { return Observer{s, vault} }

// Denied implements relay.DenialObserver.
func (o Observer) Denied(q rule.Request, token secret.Secret) {
	o.suggester.observe(denial{o.vault, q, token})
}

func (s *Suggester) work(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case one := <-s.queue:
			capabilities, err := s.config.Capabilities(ctx, one.vault, one.request, one.Token)
			if err == nil && one.request.Grants(capabilities) {
				s.add(one)
			}
		case <-ctx.Done():
			return
		}
		timer.Reset(pause)
	}
}

// observe queues a denial for the workers, unless the same was checked lately or the
// queue is full.
func (s *Suggester) observe(one denial) {
	if len(one.request.Path)+len(one.request.Namespace) > maxPath {
		return
	}
	key := denialKey{one.vault, s.config.Identify(one.Token), one.request}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.checked[key]; ok && now.Sub(at) < askAgain {
		s.countLocked(one)
		return
	}
	if len(s.checked) >= maxChecked {
		maps.DeleteFunc(s.checked, func(_ denialKey, at time.Time) bool { return now.Sub(at) >= askAgain })
	}
	if len(s.checked) >= maxChecked {
		return
	}
	select {
	case s.queue <- one:
		s.checked[key] = now
	default: // the next denial of the path may find room
	}
}

// countLocked counts a denial whose cause is known.
func (s *Suggester) countLocked(one denial) {
	key := pathKey{one.vault, one.request.Namespace, one.request.Path}
	if known, ok := s.found[key]; ok && slices.Contains(known.Operations, string(one.request.Operation)) {
		known.Count++
		known.Last = time.Now().Round(0)
		s.found[key] = known
	}
}

// add keeps the path of a denial and calls Found for a new one.
func (s *Suggester) add(one denial) {
	key := pathKey{one.vault, one.request.Namespace, one.request.Path}
	s.mu.Lock()
	known, before := s.found[key]
	if !before {
		s.evictLocked()
		known = control.Suggestion{Vault: one.vault, Namespace: one.request.Namespace, Path: one.request.Path}
	}
	known.Operations = texts(rule.AddOperation(operations(known.Operations), one.request.Operation))
	known.Count++
	known.Last = time.Now().Round(0)
	s.found[key] = known
	s.mu.Unlock()
	if !before {
		s.config.Found(known)
	}
}

// evictLocked makes room for one more path: it removes the one with the oldest
// denial.
func (s *Suggester) evictLocked() {
	if len(s.found) < maxFound {
		return
	}
	oldest := slices.MinFunc(slices.Collect(maps.Keys(s.found)), func(a, b pathKey) int {
		return s.found[a].Last.Compare(s.found[b].Last)
	})
	delete(s.found, oldest)
}

// Known is the part of the configuration in force that suggestions depend on.
type Known struct {
	Vaults  map[string]rule.Rules // the rules of each vault, by its name
	Methods map[string]mfa.Method
}

// List returns the paths that have no rule yet, the latest denial first.
func (s *Suggester) List(known Known) []control.Suggestion {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.found))
	s.mu.Unlock()
	all = slices.DeleteFunc(all, func(one control.Suggestion) bool {
		rules, ok := known.Vaults[one.Vault]
		return !ok || !slices.ContainsFunc(operations(one.Operations), func(op rule.Operation) bool {
			_, covered := rules.Match(rule.Request{Namespace: one.Namespace, Path: one.Path, Operation: op})
			return !covered
		})
	})
	slices.SortFunc(all, func(a, b control.Suggestion) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Path, b.Path))
	})
	taken := make(map[string]bool)
	for _, rules := range known.Vaults {
		for _, r := range rules {
			taken[r.Name] = true
		}
	}
	for i := range all {
		all[i].Rule = ruleText(all[i], known, taken)
	}
	return all
}

// ruleText returns the rule to paste.
func ruleText(one control.Suggestion, known Known, taken map[string]bool) string {
	s := rule.Suggestion{
		Namespace: one.Namespace, Path: one.Path, Operations: operations(one.Operations),
		Method: likelyMethod(known.Methods), Taken: taken,
	}
	if len(known.Vaults) > 1 {
		s.Vault = one.Vault
	}
	return s.HCL()
}

// likelyMethod is a declared method, one that takes a code before one that pushes:
// a push would not end in a quick 403.
func likelyMethod(methods map[string]mfa.Method) string {
	names := slices.Sorted(maps.Keys(methods))
	for _, name := range names {
		if methods[name].UsesPasscode {
			return name
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func operations(names []string) (all []rule.Operation) {
	for _, w := range names {
		all = append(all, rule.Operation(w))
	}
	return all
}

func texts(all []rule.Operation) (list []string) {
	for _, op := range all {
		list = append(list, string(op))
	}
	return list
}
