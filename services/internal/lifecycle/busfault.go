package lifecycle

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/tidings-dev/tidings/services/internal/config"
)

// busFault keeps the last error that a bus has logged as a warning, or worse. A bus waits for a broker that is away, or
// that lets nobody in, and returns no error: its log is where it says why. It is safe for concurrent use.
type busFault struct{ last atomic.Pointer[string] }

// get returns the error in one line, with secrets hidden; "" without one.
func (f *busFault) get() string {
	if last := f.last.Load(); last != nil {
		return *last
	}
	return ""
}

// logger returns one for the bus. It logs as log does.
func (f *busFault) logger(log *slog.Logger) *slog.Logger {
	return slog.New(faultHandler{log.Handler(), f})
}

// faultHandler looks at what passes through it.
type faultHandler struct {
	slog.Handler
	fault *busFault
}

func (h faultHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.Handler.Enabled(ctx, level)
}

func (h faultHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.fault.note(r)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h faultHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return faultHandler{h.Handler.WithAttrs(attrs), h.fault}
}

func (h faultHandler) WithGroup(name string) slog.Handler {
	return faultHandler{h.Handler.WithGroup(name), h.fault}
}

// note takes the error of a record. One with an attempt is of the service's own handler, which the bus tries again.
func (f *busFault) note(r slog.Record) {
	text := ""
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "err":
			text = a.Value.String()
		case "attempt":
			text = ""
			return false
		}
		return true
	})
	if text != "" {
		text = config.Redact(strings.Join(strings.Fields(text), " "))
		f.last.Store(&text)
	}
}
