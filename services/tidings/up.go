package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
	users "github.com/tidings-dev/tidings/services/users/service"
)

type upCommand struct {
	controlFlag
	Bus       string     `help:"kafka or redis for the server inside this process, or the address of a real one: kafka://host:9092, redis://host:6379 (default ${default})." default:"kafka" placeholder:"URL"`
	Broker    string     `help:"Where the server inside this process listens (default 127.0.0.1:19092 for kafka, 127.0.0.1:16379 for redis)." placeholder:"HOST:PORT"`
	Data      string     `help:"Folder for all data; each bus has one of its own in it (default ${default})." default:"${data}" placeholder:"DIR"`
	DB        string     `name:"db" help:"Postgres database for all services, postgres://user@host:5432/database, where each keeps to a schema named after it; the password comes from $$TIDINGS_DB_PASSWORD, $$PGPASSWORD, ?password.file=PATH or ~/.pgpass. The default is a SQLite file for each, below --data. Log, mailbox and the server inside this process stay below --data." placeholder:"URL"`
	Fresh     bool       `help:"Empty the data of this bus first."`
	Topic     string     `help:"Topic of users' events." default:"${topic}"`
	Events    string     `help:"Versions of the events in which users tells of a change, best first: v1, v2,v1 or v2; users --help tells more (default ${default})." default:"v1" placeholder:"VERSIONS"`
	Door      string     `help:"Where the write door listens (default ${default})." default:"127.0.0.1:8480" placeholder:"HOST:PORT"`
	Users     string     `help:"Where users serves gRPC (default ${default})." default:"127.0.0.1:8481" placeholder:"HOST:PORT"`
	Directory string     `help:"Where directory serves gRPC (default ${default})." default:"127.0.0.1:8482" placeholder:"HOST:PORT"`
	Audit     string     `help:"Where audit serves gRPC (default ${default})." default:"127.0.0.1:8483" placeholder:"HOST:PORT"`
	Mailer    string     `help:"Where mailer serves gRPC (default ${default})." default:"127.0.0.1:8484" placeholder:"HOST:PORT"`
	SMTP      string     `name:"smtp" help:"Mail server that mailer hands its mails to, instead of a folder: smtp://user@host:587, with the password in $$TIDINGS_SMTP_PASSWORD; mailer --help tells more." placeholder:"URL"`
	MailFrom  string     `help:"Who the mails are from." default:"Tidings <welcome@tidings.example>" placeholder:"ADDRESS"`
	LogLevel  slog.Level `help:"Least level that is logged, to a file in the data folder: debug, info, warn or error." default:"info"`
}

func (c *upCommand) run(ctx context.Context, in program.IO, parsed *kong.Context) (err error) {
	cfg := platform.Config{
		Bus: c.Bus, Broker: c.Broker, Data: c.Data, DB: c.DB, Topic: c.Topic, Door: c.Door,
		Users: c.Users, Directory: c.Directory, Audit: c.Audit, Mailer: c.Mailer,
		More: map[string][]string{"mailer": c.mail(), "users": c.users()},
	}
	if err := c.check(ctx, cfg); err != nil {
		return err
	}
	// The data is claimed before the door: of two platforms on the same, the second is to hear of that, and not only
	// that it needs another door.
	release, err := cfg.Claim()
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	defer func() { err = errors.Join(err, release()) }()
	door, err := config.Listen(ctx, "--control", c.Control)
	if err != nil {
		return fmt.Errorf("up: is a platform running already? %w", err)
	}
	defer func() { _ = door.Close() }()
	if c.Fresh {
		if err := cfg.Clear(ctx); err != nil {
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
	fmt.Fprintf(in.Stdout, "tidings %s\n%s", config.Version(), settingsLine(parsed))
	return c.serve(ctx, in.Stdout, door, cfg)
}

// Validate is called by the parser.
func (c *upCommand) Validate() error {
	return errors.Join((&mailer.Config{SMTP: c.SMTP, MailFrom: c.MailFrom}).Validate(), users.Events(c.Events).Check())
}

// mail is what mailer is told as flags of its own program.
func (c *upCommand) mail() []string { return []string{"--smtp=" + c.SMTP, "--mail-from=" + c.MailFrom} }

// users is what users is told as flags of its own program.
func (c *upCommand) users() []string { return []string{"--events=" + c.Events} }

// check finds what is typed wrong before anything is made.
func (c *upCommand) check(ctx context.Context, cfg platform.Config) error {
	if c.Fresh {
		if err := cfg.CheckClear(ctx); err != nil {
			return err
		}
	}
	if err := cfg.Check(ctx); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	return nil
}

// stopTime is how long the view and the control door may take to end. The platform is closed after them; all of it
// together stays below 10 s.
const stopTime = 750 * time.Millisecond

func (c *upCommand) serve(ctx context.Context, out io.Writer, door net.Listener, cfg platform.Config) error {
	v := newView(out)
	cfg.OnChange = v.news.add
	p, err := platform.New(ctx, cfg)
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	v.report = p.Report
	if err := p.StartAll(ctx); err != nil {
		return errors.Join(fmt.Errorf("up: %w", err), p.Close())
	}
	v.welcome(ctx, door.Addr().String(), filepath.Join(cfg.Dir(), platform.LogFile))
	err = program.Run(ctx, stopTime,
		program.Component{Name: "control", Run: func(ctx context.Context) error { return control.Serve(ctx, door, p, cfg.Log) }},
		program.Component{Name: "view", Run: v.follow},
	)
	fmt.Fprintln(out, "stopping")
	err = errors.Join(err, p.Close())
	if err == nil {
		fmt.Fprintf(out, "stopped; data stays in %s\n", place(cfg))
	}
	return err
}

// settingsLine is the flags that have other values than their defaults, wherever these came from, as one would type
// them, with secrets hidden; "" if there are none. The log has all.
func settingsLine(parsed *kong.Context) string {
	effective := map[string]string{}
	for _, attr := range config.Settings(parsed) {
		effective[attr.Key] = attr.Value.String()
	}
	var line strings.Builder
	for _, flag := range parsed.Flags() {
		value, shown := effective[flag.Name]
		switch {
		case !shown, strings.EqualFold(value, flag.Default), flag.IsBool() && value != "true":
			continue
		case flag.IsBool():
			fmt.Fprintf(&line, " --%s", flag.Name)
		case value == "" || strings.ContainsAny(value, " \t\"'"):
			fmt.Fprintf(&line, " --%s %q", flag.Name, value)
		default:
			fmt.Fprintf(&line, " --%s %s", flag.Name, value)
		}
	}
	if line.Len() == 0 {
		return ""
	}
	return "settings  " + line.String() + "\n"
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

// place is where the data is, for people.
func place(cfg platform.Config) string {
	if cfg.DB == "" {
		return cfg.Dir()
	}
	return cfg.Dir() + " and on Postgres"
}
