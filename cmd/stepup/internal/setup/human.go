package setup

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// A humanHandler writes a log for the person at the terminal: "15:04:05 approved: read
// kv/data/prod/db, vault (pid 123)". Programs get key=value or JSON.
type humanHandler struct {
	w      io.Writer
	level  slog.Leveler
	attrs  []slog.Attr // with the names of their groups
	groups string      // "a.b."
}

var _ slog.Handler = (*humanHandler)(nil)

// Enabled implements slog.Handler.
func (h *humanHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *humanHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, h.named(a))
		return true
	})
	line := r.Time.Format("15:04:05 ") + severity(r.Level) + sentence(r.Message, attrs)
	_, err := io.WriteString(h.w, cli.PrintableLine(line)+"\n")
	return err
}

// WithAttrs implements slog.Handler.
func (h *humanHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		more.attrs = append(more.attrs, h.named(a))
	}
	return &more
}

// WithGroup implements slog.Handler.
func (h *humanHandler) WithGroup(name string) slog.Handler {
	more := *h
	more.groups += name + "."
	return &more
}

func (h *humanHandler) named(a slog.Attr) slog.Attr {
	return slog.Attr{Key: h.groups + a.Key, Value: a.Value.Resolve()}
}

func severity(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error: "
	case l >= slog.LevelWarn:
		return "warning: "
	case l < slog.LevelInfo:
		return "debug: "
	}
	return ""
}

// sentence words one entry. That of a decision begins with the outcome, whose program and
// operation say the rest.
func sentence(message string, attrs []slog.Attr) string {
	value := func(key string) string {
		i := slices.IndexFunc(attrs, func(a slog.Attr) bool { return a.Key == key })
		if i < 0 {
			return ""
		}
		return attrs[i].Value.String()
	}
	if outcome := value("outcome"); outcome != "" && value("program") != "" {
		what := strings.TrimSpace(value("operation") + " " + value("path"))
		return outcome + ": " + cmp.Or(what, "rule "+value("rule")) + ", " + value("program")
	}
	var facts []string
	for _, a := range attrs {
		if a.Key != "" && a.Value.String() != "" {
			facts = append(facts, fact(a))
		}
	}
	if len(facts) == 0 {
		return message
	}
	return message + ": " + strings.Join(facts, ", ")
}

// fact is a value with its key, or alone where the value says what it is.
func fact(a slog.Attr) string {
	switch a.Key {
	case "address", "cause", "error", "network", "reason", "state", "why":
		return a.Value.String()
	}
	return a.Key + " " + a.Value.String()
}
