package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/pathwatch"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// logLines is a log that hands on its lines.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func (l logLines) await(t *testing.T, words string) {
	t.Helper()
	for end := time.After(30 * time.Second); ; {
		select {
		case line := <-l:
			if strings.Contains(line, words) {
				return
			}
		case <-end:
			t.Fatalf("the log never says %q", words)
		}
	}
}

// A configuration whose folder comes later is read when it comes, and what was changed
// before the agent served is seen.
func TestReloaderBeforeReady(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "later", "stepup.hcl")
	lines := make(logLines, 16)
	log := slog.New(slog.NewTextHandler(lines, nil))
	ready := make(chan struct{})
	watcher := pathwatch.New(file)
	r := &reloader{
		console: &cli.Console{Env: func(string) string { return "" }},
		agent:   agent.New(agent.Config{}, agent.Options{RuntimeDir: t.TempDir(), Log: log}),
		file:    file, watcher: watcher, ready: ready, log: log,
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	running.Go(func() { watcher.Run(ctx) })
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	close(ready)
	lines.await(t, textReloadFailed)
	cancel()
	running.Wait()
}
