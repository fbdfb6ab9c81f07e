package answering

import (
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
)

// An agent that is there and lets an attached terminal go is told from one that stops;
// attach_stop.txtar has the latter.
func TestStayDropped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := listener.LockRuntimeDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lock.Release)
	broken := errors.New("broken")
	for name, tt := range map[string]struct{ stream, want error }{"closed": {nil, errDropped}, "broken": {broken, broken}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events iter.Seq2[prompt.Event, error] = func(yield func(prompt.Event, error) bool) {
				if tt.stream != nil {
					yield(prompt.Event{}, tt.stream)
				}
			}
			a := Attachment{
				Console:  &cli.Console{Env: func(string) string { return dir }},
				Session:  func() *Session { return &Session{} },
				Notify:   func(string, ...any) {},
				patience: time.Millisecond,
			}
			if err := a.Stay(t.Context(), events); !errors.Is(err, tt.want) {
				t.Errorf("Stay = %v, want %v", err, tt.want)
			}
		})
	}
}
