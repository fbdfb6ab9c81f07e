package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/relay"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache"
)

// Bounds of what is done and remembered about refusals: programs decide how many
// of them there are, and of which paths.
const (
	suspectWorkers = 2
	suspectQueue   = 64
	suspectPause   = 250 * time.Millisecond // of a worker, between two questions
	suspectAgain   = 10 * time.Minute       // until Vault is asked about the same once more
	maxTried       = 1024
	maxFound       = 64
	maxSuspectPath = 1024
)

// suspects finds the paths that want a second factor and have no rule. Vault gives
// no reason for its 403, but sys/capabilities-self tells whether policies grant the
// request; if they do, something else refused it, and that is mostly mfa_methods.
// Its workers ask after the app has its answer; close ends them and waits.
type suspects struct {
	found   func(control.Suggestion) // says it once for each path
	ask     func(context.Context, suspect) ([]string, error)
	name    func(cache.Secret) string // of a caller
	queue   chan suspect
	workers sync.WaitGroup
	cancel  context.CancelFunc // nil before start

	mu    sync.Mutex // guards what follows
	tried map[suspectKey]time.Time
	seen  map[suggestionKey]control.Suggestion
}

// A suspect is one refusal.
type suspect struct {
	vault   string
	request rule.Request
	Token   cache.Secret // the caller's own
}

type suspectKey struct {
	vault, caller string
	request       rule.Request
}

type suggestionKey struct{ vault, namespace, path string }

func newSuspects() *suspects {
	return &suspects{
		queue: make(chan suspect, suspectQueue),
		tried: make(map[suspectKey]time.Time),
		seen:  make(map[suggestionKey]control.Suggestion),
	}
}

// start starts the workers. ctx does not end them; close does.
func (s *suspects) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range suspectWorkers {
		s.workers.Go(func() { s.work(ctx) })
	}
}

func (s *suspects) close() {
	if s.cancel != nil {
		s.cancel()
	}
	s.workers.Wait()
}

func (s *suspects) work(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		select {
		case one := <-s.queue:
			words, err := s.ask(ctx, one)
			if err == nil && one.request.Grants(words) {
				s.add(one)
			}
		case <-ctx.Done():
			return
		}
		pause.Reset(suspectPause)
	}
}

// refused takes note of one refusal, unless the same was looked into lately, or
// there is too much to look into.
func (s *suspects) refused(one suspect) {
	if len(one.request.Path)+len(one.request.Namespace) > maxSuspectPath {
		return
	}
	key := suspectKey{one.vault, s.name(one.Token), one.request}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.tried[key]; ok && now.Sub(at) < suspectAgain {
		s.countLocked(one)
		return
	}
	if len(s.tried) >= maxTried {
		maps.DeleteFunc(s.tried, func(_ suspectKey, at time.Time) bool { return now.Sub(at) >= suspectAgain })
	}
	if len(s.tried) >= maxTried {
		return
	}
	select {
	case s.queue <- one:
		s.tried[key] = now
	default: // the next refusal comes in its place
	}
}

// countLocked counts a refusal of which is known what it is.
func (s *suspects) countLocked(one suspect) {
	key := suggestionKey{one.vault, one.request.Namespace, one.request.Path}
	if known, ok := s.seen[key]; ok && slices.Contains(known.Operations, string(one.request.Operation)) {
		known.Count++
		known.Last = time.Now().Round(0)
		s.seen[key] = known
	}
}

// add remembers a path and says so the first time.
func (s *suspects) add(one suspect) {
	key := suggestionKey{one.vault, one.request.Namespace, one.request.Path}
	s.mu.Lock()
	known, before := s.seen[key]
	if !before {
		s.evictLocked()
		known = control.Suggestion{Vault: one.vault, Namespace: one.request.Namespace, Path: one.request.Path}
	}
	known.Operations = words(rule.AddOperation(operations(known.Operations), one.request.Operation))
	known.Count++
	known.Last = time.Now().Round(0)
	s.seen[key] = known
	s.mu.Unlock()
	if !before {
		s.found(known)
	}
}

// evictLocked makes room for one more by forgetting what was not seen for longest.
func (s *suspects) evictLocked() {
	if len(s.seen) < maxFound {
		return
	}
	oldest := slices.MinFunc(slices.Collect(maps.Keys(s.seen)), func(a, b suggestionKey) int {
		return s.seen[a].Last.Compare(s.seen[b].Last)
	})
	delete(s.seen, oldest)
}

// list is what has no rule still, the newest first.
func (s *suspects) list(c Config, vaults map[string]*vault) []control.Suggestion {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.seen))
	s.mu.Unlock()
	all = slices.DeleteFunc(all, func(one control.Suggestion) bool {
		v, ok := vaults[one.Vault]
		return !ok || !slices.ContainsFunc(operations(one.Operations), func(op rule.Operation) bool {
			_, covered := v.rules.Match(rule.Request{Namespace: one.Namespace, Path: one.Path, Operation: op})
			return !covered
		})
	})
	slices.SortFunc(all, func(a, b control.Suggestion) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Path, b.Path))
	})
	taken := make(map[string]bool)
	for _, r := range c.Rules {
		taken[r.Name] = true
	}
	for i := range all {
		all[i].Rule = suggestion(all[i], c, taken)
	}
	return all
}

// suggestion is the rule to paste.
func suggestion(one control.Suggestion, c Config, taken map[string]bool) string {
	s := rule.Suggestion{
		Namespace: one.Namespace, Path: one.Path, Operations: operations(one.Operations),
		Method: likelyMethod(c.Methods), Taken: taken,
	}
	if len(c.Vaults) > 1 {
		s.Vault = one.Vault
	}
	return s.HCL()
}

// likelyMethod is a declared method, one that takes a code before one that pushes:
// a push would not have come back as a quick 403.
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

func operations(words []string) (all []rule.Operation) {
	for _, w := range words {
		all = append(all, rule.Operation(w))
	}
	return all
}

func words(all []rule.Operation) (list []string) {
	for _, op := range all {
		list = append(list, string(op))
	}
	return list
}

// A witness is the suspects as the relay of one vault knows them.
type witness struct {
	suspects *suspects
	vault    string
}

var _ relay.Witness = witness{}

// Refused implements relay.Witness.
func (w witness) Refused(q rule.Request, token cache.Secret) {
	w.suspects.refused(suspect{w.vault, q, token})
}

// watchSuspects makes the suspects of an agent, which ask the vault as it is
// configured then.
func (a *Agent) watchSuspects() *suspects {
	s := newSuspects()
	s.name = func(token cache.Secret) string { return a.identity.Identify(token) }
	s.ask = func(ctx context.Context, one suspect) ([]string, error) {
		a.mu.Lock()
		v, ok := a.vaults[one.vault]
		a.mu.Unlock()
		if !ok {
			return nil, errNotRunning
		}
		return v.client.Capabilities(ctx, one.Token, one.request.Namespace, one.request.Path)
	}
	s.found = func(one control.Suggestion) {
		a.options.Log.Info("vault refused what its policies grant: it probably wants a second factor, and no rule names the path; `stepup status` has one to paste",
			"vault", one.Vault, "namespace", one.Namespace, "path", one.Path, "operations", one.Operations)
	}
	return s
}
