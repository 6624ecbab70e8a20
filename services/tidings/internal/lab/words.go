package lab

import (
	"context"
	"log/slog"
	"sync"
)

// lastWords is a log that keeps one sentence: the last warning or error that a service gave a reason for. It is what
// to add when the lab has waited in vain. It is safe for concurrent use.
type lastWords struct {
	mu   sync.Mutex
	said string
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said
}

// Enabled is part of [slog.Handler].
func (w *lastWords) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle is part of [slog.Handler].
func (w *lastWords) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "err" {
			return true
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said = r.Message + ": " + a.Value.String()
		return false
	})
	return nil
}

// WithAttrs is part of [slog.Handler].
func (w *lastWords) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup is part of [slog.Handler].
func (w *lastWords) WithGroup(string) slog.Handler { return w }
