package suggest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/mfa"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/cache/secret"
)

// A fixture is a suggester with a Vault that the test plays.
type fixture struct {
	*Suggester
	notes        sync.Mutex
	asked        []string
	said         []string
	capabilities []string
	err          error
	block        chan struct{}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{capabilities: []string{"read", "list"}}
	f.Suggester = New(Config{
		Identify: func(token secret.Secret) string { return "hmac-" + token.Reveal() },
		Capabilities: func(ctx context.Context, _ string, q rule.Request, _ secret.Secret) ([]string, error) {
			f.notes.Lock()
			f.asked = append(f.asked, fmt.Sprintf("%s/%s %s", q.Namespace, q.Path, q.Operation))
			f.notes.Unlock()
			if f.block != nil {
				select {
				case <-f.block:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return f.capabilities, f.err
		},
		Found: func(one control.Suggestion) {
			f.notes.Lock()
			defer f.notes.Unlock()
			f.said = append(f.said, one.Path)
		},
	})
	f.Start(t.Context())
	t.Cleanup(f.Close)
	return f
}

// asks returns how often Vault was asked so far.
func (f *fixture) asks() int {
	f.notes.Lock()
	defer f.notes.Unlock()
	return len(f.asked)
}

func (f *fixture) paths() (all []string) {
	for _, one := range f.List(Known{Vaults: map[string]rule.Rules{"corp": nil}}) {
		all = append(all, fmt.Sprintf("%s/%s %s %d", one.Namespace, one.Path, strings.Join(one.Operations, ","), one.Count))
	}
	return all
}

func read(path string) denial {
	return denial{"corp", rule.Request{Path: path, Operation: rule.Read}, "tok"}
}

func TestSuggester(t *testing.T) {
	t.Parallel()
	other := func(change func(*denial)) denial {
		s := read("kv/a")
		change(&s)
		return s
	}
	list := func(s *denial) { s.request = rule.Request{Path: "kv/a", Operation: rule.List} }
	tests := map[string]struct {
		denials []denial
		change  func(*fixture)
		asked   int
		want    []string
		said    int
	}{
		"a grant that was refused":     {denials: []denial{read("kv/a")}, asked: 1, want: []string{"/kv/a read 1"}, said: 1},
		"again and again":              {denials: []denial{read("kv/a"), read("kv/a"), read("kv/a")}, asked: 1, want: []string{"/kv/a read 3"}, said: 1},
		"two callers":                  {denials: []denial{read("kv/a"), other(func(s *denial) { s.Token = "x" })}, asked: 2, want: []string{"/kv/a read 2"}, said: 1},
		"two operations":               {denials: []denial{read("kv/a"), other(list)}, asked: 2, want: []string{"/kv/a read,list 2"}, said: 1},
		"two namespaces":               {denials: []denial{other(func(s *denial) { s.request.Namespace = "ns" }), read("kv/a")}, asked: 2, want: []string{"/kv/a read 1", "ns/kv/a read 1"}, said: 2},
		"an ordinary denial":           {denials: []denial{read("kv/a"), read("kv/a")}, change: func(f *fixture) { f.capabilities = []string{"deny"} }, asked: 1},
		"another operation is granted": {denials: []denial{other(func(s *denial) { s.request.Operation = rule.Delete })}, asked: 1},
		"root":                         {denials: []denial{read("kv/a")}, change: func(f *fixture) { f.capabilities = []string{"root"} }, asked: 1},
		"vault cannot be asked":        {denials: []denial{read("kv/a")}, change: func(f *fixture) { f.err = errors.New("no") }, asked: 1},
		"another vault is gone by now": {denials: []denial{other(func(s *denial) { s.vault = "old" })}, asked: 1, said: 1},
		"an endless path":              {denials: []denial{read(strings.Repeat("x", 2000))}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				if tt.change != nil {
					tt.change(f)
				}
				for _, s := range tt.denials {
					f.observe(s)
					time.Sleep(time.Second)
				}
				f.Close()
				if d := cmp.Diff(tt.want, f.paths()); d != "" || len(f.asked) != tt.asked || len(f.said) != tt.said {
					t.Errorf("asked %q, said %q %s", f.asked, f.said, d)
				}
			})
		})
	}
}

// However many denials there are, Vault is asked at most eight times a second, and
// memory has an end. Observing a denial does not wait.
func TestSuggesterAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		const flood = 3000
		start := time.Now()
		for i := range flood {
			f.observe(read(fmt.Sprint("kv/", i)))
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("observing denials took %s", took)
		}
		for i := range flood {
			f.observe(read(fmt.Sprint("kv/", i)))
			time.Sleep(20 * time.Millisecond)
		}
		if seconds := time.Since(start).Seconds(); float64(f.asks()) > 8*seconds+2 {
			t.Errorf("asked %d times in %.0f s", f.asks(), seconds)
		}
		f.mu.Lock()
		checked, found := len(f.checked), len(f.found)
		f.mu.Unlock()
		if checked > maxChecked || found > maxFound {
			t.Errorf("%d and %d are remembered", checked, found)
		}
		time.Sleep(askAgain)
		n := f.asks()
		f.observe(read("kv/new"))
		time.Sleep(time.Second)
		if f.asks() != n+1 {
			t.Error("nothing new is looked into after a flood")
		}
	})
}

// The end of the agent ends a question that is under way.
func TestSuggesterEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.block = make(chan struct{})
		for i := range 10 {
			f.observe(read(fmt.Sprint("kv/", i)))
		}
		synctest.Wait()
		f.Close() // hangs, if a worker does
		f.observe(read("kv/late"))
		if got := f.paths(); got != nil {
			t.Errorf("found %q", got)
		}
	})
}

// A rule that covers the path ends the suggestion; one for another operation does not.
func TestSuggestionsEndWithARule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.observe(read("kv/a"))
		time.Sleep(time.Second)
		p, err := rule.ParsePattern("kv/*")
		if err != nil {
			t.Fatal(err)
		}
		r := rule.Rule{Name: "kv-a", Paths: []rule.Pattern{p}, Capabilities: []rule.Operation{rule.Delete}}
		known := Known{
			Vaults:  map[string]rule.Rules{"corp": {r}, "x": nil},
			Methods: map[string]mfa.Method{"a_push": {Type: "okta"}, "totp": {UsesPasscode: true}},
		}
		got := f.List(known)
		want := "step_up \"kv-a-2\" {\n  paths        = [\"kv/a\"]\n  capabilities = [\"read\"]\n  vault        = \"corp\"\n  methods      = [\"totp\"] # what the policy names in mfa_methods\n  grant \"header\" {}\n}\n"
		if len(got) != 1 || got[0].Rule != want {
			t.Errorf("%+v", got)
		}
		r.Capabilities = nil
		known.Vaults["corp"] = rule.Rules{r}
		if got := f.List(known); len(got) != 0 {
			t.Errorf("with a rule: %+v", got)
		}
	})
}
