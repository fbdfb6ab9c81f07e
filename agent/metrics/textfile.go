package metrics

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/expfmt"
)

const (
	// writeEvery is how often the textfile is written at most.
	writeEvery = 15 * time.Second
	// ageEvery is how often it is written while prompts are open or tokens are kept, which
	// both end without an event.
	ageEvery = time.Minute
)

// A textfile is the file in which node_exporter finds the metrics. An agent that does nothing
// does not write it, and is not woken for it.
type textfile struct {
	on      atomic.Bool   // there is a file: changes are signalled
	changed chan struct{} // holds one signal
	paths   chan string   // holds the path that is wanted last

	mu  sync.Mutex
	err error // of the last try
}

func newTextfile() *textfile {
	return &textfile{changed: make(chan struct{}, 1), paths: make(chan string, 1)}
}

// touch says that something was counted.
func (f *textfile) touch() {
	if !f.on.Load() {
		return
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Export sets the file that [Metrics.RunExport] writes; "" ends that.
func (m *Metrics) Export(path string) {
	f := m.file
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on.Store(path != "")
	f.err = nil
	select {
	case <-f.paths: // it was not taken yet
	default:
	}
	f.paths <- path
}

// Notes says that the file could not be written last, for the status.
func (m *Metrics) Notes() []string {
	m.file.mu.Lock()
	defer m.file.mu.Unlock()
	if m.file.err == nil {
		return nil
	}
	return []string{"the metrics cannot be written: " + m.file.err.Error()}
}

// RunExport writes the file when something was counted, at most once in fifteen seconds, with
// mode 0644. It removes the file when ctx ends: what is in it is not true any more.
func (m *Metrics) RunExport(ctx context.Context, log *slog.Logger) {
	path, last := "", time.Time{}
	for dirty := false; ; {
		changed, due := m.file.changed, (<-chan time.Time)(nil)
		switch {
		case path == "":
		case dirty: // it is known: the next request wakes nothing
			changed, due = nil, time.After(time.Until(last.Add(writeEvery)))
		case m.ages():
			due = time.After(ageEvery)
		}
		select {
		case next := <-m.file.paths:
			if path != next {
				remove(path)
			}
			path, last, dirty = next, time.Time{}, true
		case <-changed:
			dirty = true
		case <-due:
			m.export(path, log)
			last, dirty = time.Now(), false
		case <-ctx.Done():
			remove(path)
			return
		}
	}
}

// ages reports whether the metrics change without an event.
func (m *Metrics) ages() bool {
	if m.state.Pending() > 0 {
		return true
	}
	for _, n := range m.state.Cached() {
		if n > 0 {
			return true
		}
	}
	return false
}

// export writes the file, and logs where that begins to fail.
func (m *Metrics) export(path string, log *slog.Logger) {
	err := m.write(path)
	m.file.mu.Lock()
	before := m.file.err
	m.file.err = err
	m.file.mu.Unlock()
	if err != nil && before == nil {
		log.Warn("the metrics cannot be written", "error", err)
	}
}

// write replaces the file at path. prometheus.WriteToTextfile does not serve here: it changes
// the mode by name, and in a folder that others write to, the name may be a link to a file of
// ours by then. Only our own metrics are in it: those of the process would meet
// node_exporter's of the same name, which spoils all.
func (m *Metrics) write(path string) error {
	families, err := m.registry.Gather()
	if err != nil {
		return err
	}
	// A name that node_exporter does not read (*.prom).
	file, err := os.CreateTemp(filepath.Dir(path), ".stepup-*")
	if err != nil {
		return err
	}
	for _, family := range families {
		_, failed := expfmt.MetricFamilyToText(file, family)
		err = errors.Join(err, failed)
	}
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		remove(file.Name())
	}
	return err
}

func remove(path string) {
	if path != "" {
		_ = os.Remove(path) // it may be gone
	}
}
