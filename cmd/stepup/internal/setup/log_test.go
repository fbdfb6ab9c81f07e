package setup

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"sync"
	"testing"

	"github.com/vault-stepup/stepup/agent"
)

// Loggers that were made before a change follow it, with all that was added to
// them.
func TestLogOutputChanges(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	output := NewLogOutput(agent.Log{Level: slog.LevelInfo, Format: "text"}, &out)
	log := output.Logger().With("a", 1).WithGroup("g").With("b", 2)
	check := func(want string) {
		t.Helper()
		if got := out.String(); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got %q, want %s", got, want)
		}
		out.Reset()
	}
	log.Debug("hidden")
	check(`^$`)
	log.Info("shown", "c", 3)
	check(`^time=\S+ level=INFO msg=shown a=1 g\.b=2 g\.c=3\n$`)
	output.Set(agent.Log{Level: slog.LevelDebug, Format: "json"})
	log.Debug("shown")
	check(`^\{"time":"[^"]+","level":"DEBUG","msg":"shown","a":1,"g":\{"b":2\}\}\n$`)
	output.Set(agent.Log{Level: slog.LevelWarn, Format: "text"})
	log.Info("hidden")
	check(`^$`)
	slog.NewLogLogger(log.Handler(), slog.LevelError).Print("of a server")
	check(`level=ERROR msg="of a server" a=1 g\.b=2\n$`)
}

// Lines stay whole while the form changes.
func TestLogOutputLinesAreWhole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	output := NewLogOutput(agent.Log{Format: "text"}, &out)
	var all sync.WaitGroup
	for range 4 {
		log := output.Logger()
		all.Go(func() {
			for range 200 {
				log.Info("line", "key", "value")
			}
		})
	}
	for i := range 200 {
		output.Set(agent.Log{Format: []string{"text", "json"}[i%2]})
	}
	all.Wait()
	whole := regexp.MustCompile(`^(time=\S+ level=INFO msg=line key=value|\{"time":"[^"]+","level":"INFO","msg":"line","key":"value"\})\n$`)
	lines := bytes.SplitAfter(out.Bytes(), []byte("\n"))
	for _, line := range lines[:len(lines)-1] {
		if !whole.Match(line) {
			t.Fatalf("broken line %q", line)
		}
	}
	if n := len(lines) - 1; n != 800 {
		t.Errorf("%d lines", n)
	}
}

// At a terminal, a person reads what happened; what a stranger wrote steers nothing there.
func TestHumanLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	output := NewLogOutput(agent.Log{Level: slog.LevelInfo, Format: "text"}, &out)
	output.human = true
	log := output.Logger()
	for _, tt := range []struct {
		name string
		do   func()
		want string
	}{
		{"a decision", func() {
			log.Info("step-up decided", "outcome", "approved", "rule", "prod", "operation", "read", "path", "kv/data/prod/db", "program", "vault (pid 123)")
		}, "approved: read kv/data/prod/db, vault (pid 123)"},
		{"a decision of a rule alone", func() {
			log.Info("step-up decided", "outcome", "denied", "rule", "prod", "operation", "", "path", "", "program", "stepup (pid 7)")
		}, "denied: rule prod, stepup (pid 7)"},
		{"facts", func() { log.Info("listening", "network", "tcp", "empty", "", "address", "127.0.0.1:8100") }, "listening: tcp, 127.0.0.1:8100"},
		{"no facts", func() { log.Info("stopped") }, "stopped"},
		{"a warning", func() { log.Warn("slow", "after", 2) }, "warning: slow: after 2"},
		{"an error", func() { log.Error("failed", "error", errors.New("no route")) }, "error: failed: no route"},
		{"groups", func() { log.With("a", 1).WithGroup("g").With("b", 2).Info("shown", "c", 3) }, "shown: a 1, g.b 2, g.c 3"},
		{"hostile", func() { log.Info("read", "path", "kv/\x1b[2J\r\nerror: \u202e") }, "read: path kv/?[2J  error: ?"},
		{"below the level", func() { log.Debug("hidden") }, ""},
	} {
		tt.do()
		got := out.String()
		out.Reset()
		if tt.want == "" && got == "" {
			continue
		}
		if !regexp.MustCompile(`^\d\d:\d\d:\d\d ` + regexp.QuoteMeta(tt.want) + `\n$`).MatchString(got) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	output.Set(agent.Log{Level: slog.LevelInfo, Format: "json"})
	if log.Info("shown"); !bytes.HasPrefix(out.Bytes(), []byte(`{"time":`)) {
		t.Errorf("json is %q", out.String())
	}
}
