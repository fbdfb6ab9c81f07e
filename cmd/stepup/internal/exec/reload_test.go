//go:build unix

package exec

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

func TestAwaitReload(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		age    time.Duration                             // of the file
		reload func(after time.Duration) *control.Reload // after the first look
		waits  time.Duration                             // at least
		most   time.Duration
		says   string
	}{
		"long saved":        {age: time.Hour},
		"in the future":     {age: -time.Hour},
		"read again soon":   {age: 0, reload: reloadedAt(300*time.Millisecond, ""), waits: 300 * time.Millisecond, most: 400 * time.Millisecond},
		"never read again":  {age: time.Second, waits: 4 * time.Second, most: 4200 * time.Millisecond},
		"read with errors":  {age: 0, reload: reloadedAt(100*time.Millisecond, "stepup.hcl:3: no\x1b"), waits: 100 * time.Millisecond, most: 200 * time.Millisecond, says: "goes on with the one from before: stepup.hcl:3: no?"},
		"an old error":      {age: time.Hour, reload: reloadedAt(0, "stepup.hcl:3: no"), says: "stepup.hcl:3: no"},
		"the agent is gone": {age: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "stepup.hcl")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				saved := begin.Add(-tt.age)
				if err := os.Chtimes(file, saved, saved); err != nil {
					t.Fatal(err)
				}
				var said bytes.Buffer
				awaitReload(t.Context(), &cli.Console{Err: &said}, func(context.Context) (control.Status, error) {
					st := control.Status{Started: begin.Add(-time.Minute), ConfigFiles: []string{file}}
					if tt.reload != nil {
						st.Reload = tt.reload(time.Since(begin))
					}
					if name == "the agent is gone" {
						return st, errors.New("gone")
					}
					return st, nil
				})
				if took := time.Since(begin); took < tt.waits || took > tt.most {
					t.Errorf("waited for %v", took)
				}
				if got := said.String(); !strings.Contains(got, tt.says) || tt.says == "" && got != "" {
					t.Errorf("said %q", got)
				}
			})
		})
	}
}

// reloadedAt is an agent that has read its files so long after the first look.
func reloadedAt(after time.Duration, problem string) func(time.Duration) *control.Reload {
	return func(now time.Duration) *control.Reload {
		if now < after {
			return nil
		}
		return &control.Reload{Time: time.Now().Add(after - now), Error: problem}
	}
}
