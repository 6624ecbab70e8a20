package lifecycle

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// hangUpTime bounds the end of the connection that announcements go over. Nothing depends on it.
const hangUpTime = 500 * time.Millisecond

// announcing is what says on the bus what the service publishes and reads; nothing where there is nothing to say, or it
// is not to be said. It never ends before it is told to, whatever goes wrong: no service fails for it. It is the last to
// be told, for it is in nobody's way.
func (r *Runner) announcing(p *Parts) []program.Component {
	if !r.spec.Config.Announce || len(p.said) == 0 {
		return nil
	}
	said := slices.Clone(p.said)
	for i := range said {
		said[i].Name = r.spec.Name
		if said[i].Group == "" {
			said[i].Group = r.spec.Name
		}
	}
	return []program.Component{{Name: "announcements", Run: func(ctx context.Context) error {
		if err := r.announce(ctx, p.Log, said); err != nil {
			p.Log.WarnContext(ctx, "what this service publishes and reads is not announced; all else goes on", "err", err)
		}
		<-ctx.Done()
		return nil
	}}}
}

// announce announces until ctx ends, over a connection of its own: see [announce.Run]. What that connection has to say
// of the broker the service's own says too.
func (r *Runner) announce(ctx context.Context, log *slog.Logger, said []announce.Announcement) error {
	b, err := r.env.OpenBus(ctx, r.spec.Config.Bus, slog.New(asDebug{log.With("for", "announcements").Handler()}))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpTime)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			log.DebugContext(ctx, "the connection for announcements can't be closed", "err", err)
		}
	}()
	return announce.Run(ctx, b, r.spec.Config.Topic, said, announce.Config{Release: config.Version(), Logger: log})
}

// asDebug logs everything at the debug level.
type asDebug struct{ slog.Handler }

func (h asDebug) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h asDebug) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

func (h asDebug) WithAttrs(attrs []slog.Attr) slog.Handler {
	return asDebug{h.Handler.WithAttrs(attrs)}
}

func (h asDebug) WithGroup(name string) slog.Handler { return asDebug{h.Handler.WithGroup(name)} }
