package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vault-stepup/stepup/agent"
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

// Where the configuration cannot be watched (too many others watch files), the
// agent goes on without, and still sees what was changed before it served.
func TestReloaderWithoutAWatch(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "later", "stepup.hcl") // a folder that is not there cannot be watched
	lines := make(logLines, 16)
	log := slog.New(slog.NewTextHandler(lines, nil))
	ready := make(chan struct{})
	r := &reloader{
		console: &cli.Console{Env: func(string) string { return "" }},
		agent:   agent.New(agent.Config{}, agent.Options{RuntimeDir: t.TempDir(), Log: log}),
		file:    file, ready: ready, log: log,
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	lines.await(t, "not watched")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	close(ready)
	lines.await(t, textReloadFailed)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
