package agent

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
	"github.com/vault-stepup/stepup/cache"
)

// A bureau is suspects with a Vault that the test plays.
type bureau struct {
	*suspects
	notes sync.Mutex
	asked []string
	said  []string
	words []string
	err   error
	block chan struct{}
}

func newBureau(t *testing.T) *bureau {
	t.Helper()
	b := &bureau{suspects: newSuspects(), words: []string{"read", "list"}}
	b.name = func(token cache.Secret) string { return "hmac-" + token.Reveal() }
	b.ask = func(ctx context.Context, one suspect) ([]string, error) {
		b.notes.Lock()
		b.asked = append(b.asked, fmt.Sprintf("%s/%s %s", one.request.Namespace, one.request.Path, one.request.Operation))
		b.notes.Unlock()
		if b.block != nil {
			select {
			case <-b.block:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return b.words, b.err
	}
	b.found = func(one control.Suggestion) {
		b.notes.Lock()
		defer b.notes.Unlock()
		b.said = append(b.said, one.Path)
	}
	b.start(t.Context())
	t.Cleanup(b.close)
	return b
}

// asks is how often Vault was asked so far.
func (b *bureau) asks() int {
	b.notes.Lock()
	defer b.notes.Unlock()
	return len(b.asked)
}

func (b *bureau) paths() (all []string) {
	for _, one := range b.list(Config{}, map[string]*vault{"corp": {}}) {
		all = append(all, fmt.Sprintf("%s/%s %s %d", one.Namespace, one.Path, strings.Join(one.Operations, ","), one.Count))
	}
	return all
}

func read(path string) suspect {
	return suspect{"corp", rule.Request{Path: path, Operation: rule.Read}, "tok"}
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	other := func(change func(*suspect)) suspect {
		s := read("kv/a")
		change(&s)
		return s
	}
	list := func(s *suspect) { s.request = rule.Request{Path: "kv/a", Operation: rule.List} }
	tests := map[string]struct {
		refused []suspect
		change  func(*bureau)
		asked   int
		want    []string
		said    int
	}{
		"a grant that was refused":     {refused: []suspect{read("kv/a")}, asked: 1, want: []string{"/kv/a read 1"}, said: 1},
		"again and again":              {refused: []suspect{read("kv/a"), read("kv/a"), read("kv/a")}, asked: 1, want: []string{"/kv/a read 3"}, said: 1},
		"two callers":                  {refused: []suspect{read("kv/a"), other(func(s *suspect) { s.Token = "x" })}, asked: 2, want: []string{"/kv/a read 2"}, said: 1},
		"two operations":               {refused: []suspect{read("kv/a"), other(list)}, asked: 2, want: []string{"/kv/a read,list 2"}, said: 1},
		"two namespaces":               {refused: []suspect{other(func(s *suspect) { s.request.Namespace = "ns" }), read("kv/a")}, asked: 2, want: []string{"/kv/a read 1", "ns/kv/a read 1"}, said: 2},
		"an ordinary denial":           {refused: []suspect{read("kv/a"), read("kv/a")}, change: func(b *bureau) { b.words = []string{"deny"} }, asked: 1},
		"another operation is granted": {refused: []suspect{other(func(s *suspect) { s.request.Operation = rule.Delete })}, asked: 1},
		"root":                         {refused: []suspect{read("kv/a")}, change: func(b *bureau) { b.words = []string{"root"} }, asked: 1},
		"vault cannot be asked":        {refused: []suspect{read("kv/a")}, change: func(b *bureau) { b.err = errors.New("no") }, asked: 1},
		"another vault is gone by now": {refused: []suspect{other(func(s *suspect) { s.vault = "old" })}, asked: 1, said: 1},
		"an endless path":              {refused: []suspect{read(strings.Repeat("x", 2000))}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBureau(t)
				if tt.change != nil {
					tt.change(b)
				}
				for _, s := range tt.refused {
					b.refused(s)
					time.Sleep(time.Second)
				}
				b.close()
				if d := cmp.Diff(tt.want, b.paths()); d != "" || len(b.asked) != tt.asked || len(b.said) != tt.said {
					t.Errorf("asked %q, said %q %s", b.asked, b.said, d)
				}
			})
		})
	}
}

// However many refusals there are, Vault is asked at most eight times a second, and
// memory has an end. Nobody who notes a refusal waits.
func TestSuspectsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBureau(t)
		const flood = 3000
		start := time.Now()
		for i := range flood {
			b.refused(read(fmt.Sprint("kv/", i)))
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("noting refusals took %s", took)
		}
		for i := range flood {
			b.refused(read(fmt.Sprint("kv/", i)))
			time.Sleep(20 * time.Millisecond)
		}
		if seconds := time.Since(start).Seconds(); float64(b.asks()) > 8*seconds+2 {
			t.Errorf("asked %d times in %.0f s", b.asks(), seconds)
		}
		b.mu.Lock()
		tried, seen := len(b.tried), len(b.seen)
		b.mu.Unlock()
		if tried > maxTried || seen > maxFound {
			t.Errorf("%d and %d are remembered", tried, seen)
		}
		time.Sleep(suspectAgain)
		n := b.asks()
		b.refused(read("kv/new"))
		time.Sleep(time.Second)
		if b.asks() != n+1 {
			t.Error("nothing new is looked into after a flood")
		}
	})
}

// The end of the agent ends a question that is under way.
func TestSuspectsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBureau(t)
		b.block = make(chan struct{})
		for i := range 10 {
			b.refused(read(fmt.Sprint("kv/", i)))
		}
		synctest.Wait()
		b.close() // hangs, if a worker does
		b.refused(read("kv/late"))
		if got := b.paths(); got != nil {
			t.Errorf("found %q", got)
		}
	})
}

// A rule that covers the path ends the suggestion; one for another operation does not.
func TestSuggestionsEndWithARule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBureau(t)
		b.refused(read("kv/a"))
		time.Sleep(time.Second)
		p, err := rule.ParsePattern("kv/*")
		if err != nil {
			t.Fatal(err)
		}
		r := rule.Rule{Name: "kv-a", Paths: []rule.Pattern{p}, Capabilities: []rule.Operation{rule.Delete}}
		c := Config{Rules: rule.Rules{r}, Vaults: []Vault{{Name: "corp"}, {Name: "x"}}, Methods: map[string]mfa.Method{
			"a_push": {Type: "okta"}, "totp": {UsesPasscode: true},
		}}
		got := b.list(c, map[string]*vault{"corp": {rules: c.Rules}})
		want := "step_up \"kv-a-2\" {\n  paths        = [\"kv/a\"]\n  capabilities = [\"read\"]\n  vault        = \"corp\"\n  methods      = [\"totp\"] # what the policy names in mfa_methods\n  grant \"header\" {}\n}\n"
		if len(got) != 1 || got[0].Rule != want {
			t.Errorf("%+v", got)
		}
		r.Capabilities = nil
		if got := b.list(c, map[string]*vault{"corp": {rules: rule.Rules{r}}}); len(got) != 0 {
			t.Errorf("with a rule: %+v", got)
		}
	})
}
