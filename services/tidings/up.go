package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
)

type upCommand struct {
	controlFlag
	Bus       string     `help:"kafka for the broker inside this process, or the address of a real one: kafka://host:9092." default:"kafka" placeholder:"URL"`
	Broker    string     `help:"Where the broker inside this process listens." default:"127.0.0.1:19092" placeholder:"HOST:PORT"`
	Data      string     `help:"Folder for all data; each bus has one of its own in it." default:"${data}" placeholder:"DIR"`
	Fresh     bool       `help:"Empty the data of this bus first."`
	Topic     string     `help:"Topic of users' events." default:"${topic}"`
	Door      string     `help:"Where the write door listens." default:"127.0.0.1:8480" placeholder:"HOST:PORT"`
	Users     string     `help:"Where users serves gRPC." default:"127.0.0.1:8481" placeholder:"HOST:PORT"`
	Directory string     `help:"Where directory serves gRPC." default:"127.0.0.1:8482" placeholder:"HOST:PORT"`
	Audit     string     `help:"Where audit serves gRPC." default:"127.0.0.1:8483" placeholder:"HOST:PORT"`
	Mailer    string     `help:"Where mailer serves gRPC." default:"127.0.0.1:8484" placeholder:"HOST:PORT"`
	LogLevel  slog.Level `help:"Least level that is logged, to a file in the data folder: debug, info, warn or error." default:"info"`
}

func (c *upCommand) run(ctx context.Context, in program.IO, parsed *kong.Context) (err error) {
	cfg := platform.Config{
		Bus: c.Bus, Broker: c.Broker, Data: c.Data, Topic: c.Topic, Door: c.Door,
		Users: c.Users, Directory: c.Directory, Audit: c.Audit, Mailer: c.Mailer,
	}
	// Whoever has the control door runs the platform: one look tells a second `up` from a first.
	door, err := config.Listen(ctx, "--control", c.Control)
	if err != nil {
		return fmt.Errorf("up: is a platform running already? %w", err)
	}
	defer func() { _ = door.Close() }()
	if c.Fresh {
		if err := cfg.Clear(); err != nil {
			return err
		}
	}
	logFile, err := openLog(cfg.Dir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	cfg.Log = config.NewLogger(logFile, "text", c.LogLevel)
	cfg.Log.LogAttrs(ctx, slog.LevelInfo, "starting", config.Settings(parsed)...)

	p, err := platform.New(ctx, cfg)
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	serveDoor := func(ctx context.Context) error { return control.Serve(ctx, door, p, cfg.Log) }
	return serve(ctx, in.Stdout, door.Addr().String(), cfg, p, serveDoor)
}

// stopTime is how long the doors of the platform may take; its services, which are closed after them, have 8 s.
const stopTime = time.Second

func serve(
	ctx context.Context, out io.Writer, controlAddress string, cfg platform.Config, p *platform.Platform,
	door func(context.Context) error,
) error {
	fmt.Fprintf(out, "tidings %s\n", config.Version())
	if err := p.StartAll(ctx); err != nil {
		return errors.Join(fmt.Errorf("up: %w", err), p.Close())
	}
	view := newView(out, p.Report)
	view.welcome(ctx, controlAddress, filepath.Join(cfg.Dir(), platform.LogFile))
	err := program.Run(ctx, stopTime,
		program.Component{Name: "control", Run: door},
		program.Component{Name: "view", Run: view.follow},
	)
	fmt.Fprintln(out, "stopping")
	err = errors.Join(err, p.Close())
	if err == nil {
		fmt.Fprintf(out, "stopped; data stays in %s\n", cfg.Dir())
	}
	return err
}

func openLog(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, platform.LogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return f, nil
}
