package tail

import (
	"context"
	"log/slog"
	"strings"
)

// plainLog is a log for a person: what went wrong, in a line, and nothing of what went well.
type plainLog struct {
	say   func(string)
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h *plainLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *plainLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		if value := a.Value.String(); value != "" {
			b.WriteString(", " + a.Key + ": " + value)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.say(printable(b.String()))
	return nil
}

// WithAttrs implements slog.Handler.
func (h *plainLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &plainLog{h.say, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup implements slog.Handler. Groups mean nothing here.
func (h *plainLog) WithGroup(string) slog.Handler { return h }
