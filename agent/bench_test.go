package agent_test

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// BenchmarkPrompt measures how long it takes from the app's request (which Vault
// answers with 403 at once) to the first word on a terminal: the probe of the
// capabilities and the look at the requester are in it.
func BenchmarkPrompt(b *testing.B) {
	r := newFixture(b)
	s := &screen{}
	c := r.config
	c.Prompt.Prompters = []prompt.Named{{
		Name:     "terminal",
		Prompter: terminal.New(terminal.Config{Open: func() (terminal.TTY, error) { return s, nil }}),
	}}
	if err := r.agent.Reload(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		token := r.vault.CreateToken([]string{"default", "prod"}, "alice")
		s.clear()
		started := time.Now()
		if got := r.do(b, "GET", "/v1/kv/data/prod/db", "", "X-Vault-Token", token); got.outcome != "unavailable" {
			b.Fatalf("%+v", got)
		}
		took = append(took, s.written().Sub(started))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(0, "ns/op")
}

// A screen is a terminal without a person: it notes when it was first written
// to, and the person "is not here".
type screen struct {
	mu sync.Mutex
	at time.Time
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		s.at = time.Now()
	}
	return len(p), nil
}

func (s *screen) ReadLine(_ context.Context, _ bool, ask func() error) (string, error) {
	if err := ask(); err != nil {
		return "", err
	}
	return "", io.EOF
}

func (s *screen) Close() error { return nil }

func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

func (s *screen) written() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}
