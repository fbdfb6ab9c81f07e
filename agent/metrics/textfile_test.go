package metrics

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A quiet agent has no prompts and tokens.
type quiet struct{ fixed }

func (quiet) Pending() int           { return 0 }
func (quiet) Cached() map[string]int { return map[string]int{"deploy": 0} }

// An exported fixture writes a textfile, until the test ends.
type exported struct {
	fixture
	path string
	log  *bytes.Buffer
	stop func() // returns when the export has ended
}

func newExported(t *testing.T, s State) exported {
	e := exported{fixture{New(s), t}, filepath.Join(t.TempDir(), "stepup.prom"), new(bytes.Buffer), nil}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	e.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		e.RunExport(ctx, slog.New(slog.NewTextHandler(e.log, nil)))
	}()
	return e
}

// lookups are those that the file has; "" where there is no file.
func (e exported) lookups() string {
	e.t.Helper()
	synctest.Wait()
	raw, err := os.ReadFile(e.path)
	if err != nil {
		return ""
	}
	return regexp.MustCompile(`(?m)^stepup_cache_lookups_total\{result="hit"\} (\d+)$`).FindStringSubmatch(string(raw))[1]
}

func (e exported) want(what, lookups string) {
	e.t.Helper()
	if got := e.lookups(); got != lookups {
		e.t.Errorf("%s: the file has %q lookups, want %q", what, got, lookups)
	}
}

// The file is there at once, has what was counted within fifteen seconds, and goes with
// the agent.
func TestTextfile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newExported(t, quiet{})
		e.Lookup(Hit)
		e.want("before", "")
		e.Export(e.path)
		e.want("the first", "1")
		e.Lookup(Hit)
		e.Lookup(Hit)
		time.Sleep(writeEvery - time.Millisecond)
		e.want("too early", "1")
		time.Sleep(time.Millisecond)
		e.want("in time", "3")
		time.Sleep(time.Hour)
		e.Lookup(Hit)
		e.want("after a pause", "4")
		other := e
		other.path += ".other.prom"
		e.Export(other.path)
		other.want("another file", "4")
		e.want("the file before", "")
		e.Export("")
		other.want("no file", "")
		e.Export(e.path)
		e.want("again", "4")
		e.stop()
		e.want("after the end", "")
	})
}

// An agent that does nothing is not woken: the clock goes to the end of the test at once,
// and no file is written meanwhile. What ages without an event is written each minute.
func TestTextfileOfAnIdleAgent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		state State
		want  bool
	}{"quiet": {quiet{}, false}, "prompts and tokens": {fixed{}, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newExported(t, tt.state)
				e.Export(e.path)
				e.want("the first", "0")
				must(t, os.Remove(e.path))
				time.Sleep(10 * time.Minute)
				if got := e.lookups() != ""; got != tt.want {
					t.Errorf("written: %v", got)
				}
				e.stop()
			})
		})
	}
}

// A file that cannot be written is said once in the log, until it can.
func TestTextfileFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newExported(t, quiet{})
		folder := filepath.Join(filepath.Dir(e.path), "later")
		e.path = filepath.Join(folder, "stepup.prom")
		e.Export(e.path)
		for range 3 {
			e.want("no folder", "")
			if notes := e.Notes(); len(notes) != 1 || !strings.Contains(notes[0], folder) {
				t.Errorf("notes %q", notes)
			}
			e.Reload(nil)
			time.Sleep(writeEvery)
		}
		must(t, os.Mkdir(folder, 0o700))
		e.Lookup(Hit)
		time.Sleep(writeEvery)
		e.want("a folder", "1")
		if notes := e.Notes(); len(notes) > 0 {
			t.Errorf("still %q", notes)
		}
		e.stop()
		if n := strings.Count(e.log.String(), "cannot be written"); n != 1 {
			t.Errorf("%d lines in the log", n)
		}
		left, err := os.ReadDir(folder)
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// node_exporter can read the file, and promtool takes it. It has our metrics and none that
// node_exporter has itself; no label is of a person or a path.
func TestTextfileContent(t *testing.T) {
	t.Parallel()
	f := newUsedFixture(t)
	path := filepath.Join(t.TempDir(), "stepup.prom")
	must(t, f.write(path))
	must(t, f.write(path)) // over one that is there
	info, err := os.Stat(path)
	must(t, err)
	if runtime.GOOS != "windows" && info.Mode() != fs.FileMode(0o644) {
		t.Errorf("mode %v", info.Mode())
	}
	raw := readFile(t, path)
	for name := range contract() {
		if !bytes.Contains(raw, []byte("# TYPE "+name+" ")) {
			t.Errorf("no %s", name)
		}
	}
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "stepup_") {
			t.Errorf("line %q", line)
		}
	}
	for _, m := range regexp.MustCompile(`(\w+)="`).FindAllSubmatch(raw, -1) {
		if !strings.Contains(" vault code rule grant outcome kind result operation le ", " "+string(m[1])+" ") {
			t.Errorf("label %s", m[1])
		}
	}
	if tool, err := exec.LookPath("promtool"); err != nil {
		t.Skip("needs promtool (Debian: prometheus)")
	} else {
		cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
		cmd.Stdin = bytes.NewReader(raw)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	}
}
