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
	err  error // of that sentence, where it is one
	// refusal is the first error that no waiting mends; hears, where set, is told every error.
	refusal error
	hears   func(error)
}

// reason returns the error of the last sentence, and the first refusal; either may be nil.
func (w *lastWords) reason() (last, refusal error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err, w.refusal
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
		w.keep(r.Message, a.Value)
		return false
	})
	return nil
}

func (w *lastWords) keep(message string, reason slog.Value) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = message + ": " + reason.String()
	w.err, _ = reason.Any().(error)
	if w.refusal == nil && refused(w.err) {
		w.refusal = w.err
	}
	if w.hears != nil && w.err != nil {
		w.hears(w.err)
	}
}

// WithAttrs is part of [slog.Handler].
func (w *lastWords) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup is part of [slog.Handler].
func (w *lastWords) WithGroup(string) slog.Handler { return w }
