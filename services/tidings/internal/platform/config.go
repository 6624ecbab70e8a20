package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"

	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	users "github.com/tidings-dev/tidings/services/users/service"
)

// Config says what New puts together. Every address but Broker must be set; port 0 picks one that is free, at each start.
type Config struct {
	Bus    string // EmbeddedKafka, EmbeddedRedis, or the address of a server
	Broker string // where the embedded server listens; "" is its default: see [config.EmbeddedKafka]
	Data   string // the folder above that of this bus
	DB     string // a Postgres database that holds a schema of each service; "" for files in Data
	Topic  string
	Door   string // the write door
	Users  string // gRPC of each service
	// Directory, Audit and Mailer are like Users.
	Directory, Audit, Mailer string
	// More is passed on to a service as flags of its own program, by the service's name.
	More map[string][]string
	// OnChange, unless nil, is told of every change of a service's state, of one service in order, of several at
	// once: see [lifecycle.Env]. It must be safe for concurrent use.
	OnChange func(lifecycle.Status)
	Log      *slog.Logger
}

// serviceNames are the four, in the order in which they are shown.
var serviceNames = [...]string{"users", "directory", "audit", "mailer"}

// database is what a service gets for --db.
func (c Config) database(name string) string {
	if c.DB != "" {
		return c.DB // where each keeps to a schema named after it
	}
	return filepath.Join(c.Dir(), name+".db")
}

// checkDatabase reports a DB that can't be for all services, or is a file. It waits for no server.
func (c Config) checkDatabase() error {
	if c.DB == "" {
		return nil
	}
	u, err := url.Parse(c.DB)
	switch {
	case database.DialectOf(c.DB) != database.Postgres:
		return config.Usage("--db is for Postgres: pass postgres://user@host:5432/database; files are kept below --data, one for each service")
	case err == nil && (u.Query().Has("schema") || u.Query().Has("search_path")):
		return config.Usage("--db names one schema, and each service needs its own, named after it; leave it out, and pass another database instead")
	}
	return nil
}

// Dir is the folder that holds everything of this platform, but for what is in DB: one for each bus, for what one bus has
// carried is unknown to another.
func (c Config) Dir() string { return config.DataDir(c.Data, c.Bus) }

func (c Config) brokerDir() string { return filepath.Join(c.Dir(), "broker") }

// services makes the four, in the order in which they are shown. bus is the address that they connect to.
func (c Config) services(bus string) ([]lifecycle.Service, error) {
	return collect(
		func() (lifecycle.Service, error) {
			var cfg users.Config
			err := c.parse("users", c.Users, bus, &cfg, "--door="+c.Door)
			return users.New(cfg, c.env("users")), err
		},
		func() (lifecycle.Service, error) {
			var cfg directory.Config
			err := c.parse("directory", c.Directory, bus, &cfg)
			return directory.New(cfg, c.env("directory")), err
		},
		func() (lifecycle.Service, error) {
			var cfg audit.Config
			err := c.parse("audit", c.Audit, bus, &cfg)
			return audit.New(cfg, c.env("audit")), err
		},
		func() (lifecycle.Service, error) {
			cfg := mailer.Config{Folder: filepath.Join(c.Dir(), "mailbox")}
			err := c.parse("mailer", c.Mailer, bus, &cfg)
			return mailer.New(cfg, c.env("mailer")), err
		},
	)
}

// env is what the service of that name needs of the platform.
func (c Config) env(name string) lifecycle.Env {
	return lifecycle.Env{
		Log: c.Log, OpenBus: backends.Open, ListenFlag: "--" + name, OnChange: c.changed,
		Explain: func(err error) error { return c.explain(name, err) },
	}
}

func (c Config) changed(s lifecycle.Status) {
	if s.State == lifecycle.Failed {
		c.Log.Error("a service failed", "service", s.Service, "err", s.Error)
	}
	if c.OnChange != nil {
		c.OnChange(s)
	}
}

// explain says what to do about a database, in words of `tidings up`. All that a reader holds is in the log too, where
// the bus keeps one; what the owner holds is nowhere else.
func (c Config) explain(name string, err error) error {
	var inUse *database.InUseError
	var broken *lifecycle.DatabaseError
	switch {
	case errors.As(err, &inUse):
		named := *inUse
		named.Pass = "another --data"
		return &named
	case c.DB != "" || name == control.Owner || !errors.As(err, &broken) || outside(err):
		return err
	}
	if !broken.KeepsLog {
		return fmt.Errorf("%w; put a backup of %s back, or delete it and start anew: it then begins empty, for this bus keeps nothing "+
			"to fill it from, and hears only of what happens from then on", err, broken.DB)
	}
	return fmt.Errorf("%w; delete %s and start it: it fills again from the log", err, broken.DB)
}

// outside reports whether an error of a database has its reason outside the file: deleting it would change nothing.
func outside(err error) bool {
	var path *fs.PathError
	return database.IsUnavailable(err) || errors.As(err, &path) || errors.Is(err, database.ErrUnsupported) ||
		errors.Is(err, context.Canceled)
}

func collect(makers ...func() (lifecycle.Service, error)) ([]lifecycle.Service, error) {
	all := make([]lifecycle.Service, 0, len(makers))
	for _, make := range makers {
		s, err := make()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// parse fills in a service's settings as its own program does, so that its defaults and its variables hold here too.
func (c Config) parse(name, listen, bus string, cfg config.Config, more ...string) error {
	args := append([]string{
		"--bus=" + bus, "--db=" + c.database(name), "--listen=" + listen, "--topic=" + c.Topic,
	}, more...)
	parsed, err := config.Parse(append(args, c.More[name]...), io.Discard, config.Defaults{Service: name, Listen: listen}, cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	settings := append([]slog.Attr{slog.String("service", name)}, config.Settings(parsed)...)
	c.Log.LogAttrs(context.Background(), slog.LevelInfo, "settings", settings...)
	return nil
}
