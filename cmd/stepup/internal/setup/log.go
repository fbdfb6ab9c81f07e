package setup

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A LogOutput is where the agent's log goes and in what form. A reload may change
// its level and its format for all loggers.
type LogOutput struct {
	level slog.LevelVar
	json  atomic.Bool
	human bool // w is the terminal of a person, who reads what is not JSON
	w     io.Writer
}

// NewLogOutput returns an output to w, which is written to by one logger at a time.
func NewLogOutput(c agent.Log, w io.Writer) *LogOutput {
	o := &LogOutput{w: &oneLine{w: w}}
	o.Set(c)
	return o
}

// NewForegroundLog is [NewLogOutput] for an agent that may ask on a screen of its own: if w is
// a terminal, its lines are for a person, and none lands on an open question.
func NewForegroundLog(c agent.Log, w io.Writer, screen *terminal.Prompter) *LogOutput {
	file, ok := w.(*os.File)
	if !ok || !terminal.IsTerminal(file) {
		return NewLogOutput(c, w)
	}
	o := NewLogOutput(c, screen.LogWriter(w))
	o.human = true
	return o
}

// Set puts c in force for every logger of the output.
func (o *LogOutput) Set(c agent.Log) {
	o.level.Set(c.Level)
	o.json.Store(c.Format == "json")
}

// Logger returns a logger that follows the output.
func (o *LogOutput) Logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: &o.level}
	h := &entryHandler{output: o, text: slog.NewTextHandler(o.w, options), json: slog.NewJSONHandler(o.w, options)}
	if o.human {
		h.text = &humanHandler{w: o.w, level: &o.level}
	}
	return slog.New(h)
}

// An entryHandler writes to its output in the format that is in force.
type entryHandler struct {
	output     *LogOutput
	text, json slog.Handler
}

var _ slog.Handler = (*entryHandler)(nil)

// Enabled implements slog.Handler.
func (h *entryHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.output.level.Level()
}

// Handle implements slog.Handler.
func (h *entryHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.output.json.Load() {
		return h.json.Handle(ctx, r)
	}
	return h.text.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *entryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &entryHandler{output: h.output, text: h.text.WithAttrs(attrs), json: h.json.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *entryHandler) WithGroup(name string) slog.Handler {
	return &entryHandler{output: h.output, text: h.text.WithGroup(name), json: h.json.WithGroup(name)}
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
