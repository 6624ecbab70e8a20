package lifecycle

import (
	"context"
	"log/slog"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// Main runs one service as a program of its own, for [program.Main]: it reads the flags into cfg, logs the effective
// settings, and runs the service that build makes until ctx ends. The log goes to standard error.
func Main(ctx context.Context, in program.IO, d config.Defaults, cfg config.Config, open OpenBus, build func(Env) Service) error {
	parsed, err := config.Parse(in.Args, in.Stdout, d, cfg)
	if err != nil {
		return err
	}
	common := cfg.Shared()
	log := config.NewLogger(in.Stderr, common.LogFormat, common.LogLevel)
	settings := append([]slog.Attr{slog.String("service", d.Service), slog.String("version", config.Version())},
		config.Settings(parsed)...)
	log.LogAttrs(ctx, slog.LevelInfo, "starting", settings...)

	service := build(Env{Log: log, OpenBus: open})
	log = log.With("service", d.Service)
	err = service.Run(ctx, func(info Info) {
		attrs := []slog.Attr{slog.String("address", info.Address)}
		if info.Door != "" {
			attrs = append(attrs, slog.String("door", info.Door))
		}
		log.LogAttrs(ctx, slog.LevelInfo, "serving", attrs...)
	})
	if err == nil {
		log.InfoContext(ctx, "stopped")
	}
	return err
}
