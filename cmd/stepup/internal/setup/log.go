package setup

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/vault-stepup/stepup/agent"
)

// A LogOutput is where the agent's log goes and in what form. A reload may change
// its level and its format for all loggers.
type LogOutput struct {
	level  slog.LevelVar
	text   slog.Handler
	json   slog.Handler
	format atomic.Pointer[slog.Handler] // one of the two
}

// NewLogOutput returns an output to w, which is written to by one logger at a time.
func NewLogOutput(c agent.Log, w io.Writer) *LogOutput {
	o := &LogOutput{}
	w = &oneLine{w: w}
	options := &slog.HandlerOptions{Level: &o.level}
	o.text, o.json = slog.NewTextHandler(w, options), slog.NewJSONHandler(w, options)
	o.Set(c)
	return o
}

// Set puts c in force for every logger of the output.
func (o *LogOutput) Set(c agent.Log) {
	o.level.Set(c.Level)
	if c.Format == "json" {
		o.format.Store(&o.json)
		return
	}
	o.format.Store(&o.text)
}

// Logger returns a logger that follows the output.
func (o *LogOutput) Logger() *slog.Logger { return slog.New(&entryHandler{output: o}) }

// An entryHandler writes to its output in the form of the moment, with what was
// added to its logger.
type entryHandler struct {
	output *LogOutput
	added  []func(slog.Handler) slog.Handler
}

var _ slog.Handler = (*entryHandler)(nil)

// Enabled implements slog.Handler.
func (h *entryHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.output.level.Level()
}

// Handle implements slog.Handler.
func (h *entryHandler) Handle(ctx context.Context, r slog.Record) error {
	to := *h.output.format.Load()
	for _, add := range h.added {
		to = add(to)
	}
	return to.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *entryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *entryHandler) WithGroup(name string) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *entryHandler) with(add func(slog.Handler) slog.Handler) slog.Handler {
	n := len(h.added)
	return &entryHandler{output: h.output, added: append(h.added[:n:n], add)}
}

// oneLine keeps lines whole: each of the two handlers locks only for itself.
type oneLine struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (o *oneLine) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}
