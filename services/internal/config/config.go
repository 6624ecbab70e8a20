// Package config reads the settings that every service has from flags and the environment, shows them with their
// secrets hidden, and makes the logger that they ask for.
//
// Each setting is a flag and an environment variable TIDINGS_…: --log-format and TIDINGS_LOG_FORMAT. The flag goes
// before the variable, the variable before the default.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	// DefaultTopic is the topic of users' events.
	DefaultTopic = "user_activity"
	// DefaultData is the folder under which data is kept, in the current one.
	DefaultData = ".tidings"
	// EmbeddedKafka is where the embedded broker of `tidings up` listens unless told otherwise.
	EmbeddedKafka = "kafka://127.0.0.1:19092"
	// EmbeddedRedis is where the embedded PubSub server of `tidings up --bus redis` listens unless told otherwise.
	EmbeddedRedis = "redis://127.0.0.1:16379/0"
)

// Common is what every service is told. A service's own Config embeds it and adds fields with kong's tags.
type Common struct {
	Bus       string           `help:"Address of the bus: kafka://host:port or redis://host:port (default ${default})." default:"${bus}" placeholder:"URL"`
	DB        string           `name:"db" help:"Database of this service: the path of a SQLite file, made if missing, or postgres://user@host:5432/database, where the service keeps to a schema of its own, named like it and made if missing (?schema=NAME for another). The password for Postgres comes from $$TIDINGS_DB_PASSWORD, $$PGPASSWORD, ?password.file=PATH or ~/.pgpass, never in the URL. The default is a file below ${data}/, by the address of the bus." placeholder:"DSN"`
	Listen    string           `help:"Where gRPC is served (default ${default})." default:"${listen}" placeholder:"HOST:PORT"`
	Topic     string           `help:"Topic of users' events." default:"${topic}"`
	Announce  bool             `help:"Say on the bus which types of events this service publishes and reads, on a topic named like that of the events with _readers behind; tidings schema ls shows it." default:"true" negatable:""`
	LogFormat string           `help:"Format of the log, which goes to standard error: text or json." enum:"text,json" default:"text"`
	LogLevel  slog.Level       `help:"Least level that is logged: debug, info, warn or error." default:"info"`
	Version   kong.VersionFlag `help:"Print the version and exit." env:"-"`
}

// Shared returns c, so that a pointer to any struct that embeds Common is a [Config].
func (c *Common) Shared() *Common { return c }

// Config is a pointer to a struct that embeds [Common].
type Config interface{ Shared() *Common }

// Defaults is what a program says of itself, and the defaults in which services differ.
type Defaults struct {
	Service     string // "directory"
	Description string // for --help: one sentence
	Listen      string // default of --listen
}

// ErrDone is returned by [Parse] when --help or --version has printed what was asked for: there is nothing left to
// do. Its exit code is 0.
var ErrDone error = doneError{}

type doneError struct{}

func (doneError) Error() string { return "nothing left to do" }
func (doneError) ExitCode() int { return 0 }

// UsageError says what is wrong with the flags or the environment. Its exit code is 2.
type UsageError struct{ err error }

// Error names the flag and what is wrong with it.
func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns the error below.
func (e *UsageError) Unwrap() error { return e.err }

// ExitCode returns 2.
func (e *UsageError) ExitCode() int { return 2 }

// Usage makes a *UsageError, for what only a program itself can check.
func Usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Parse fills in cfg, a pointer to a struct with kong's tags, from args and the environment. Where cfg is a
// [Config], what it shares is checked, and DB gets its default. A method Validate() error of cfg, or of a field, is
// called too. It returns a *UsageError, or [ErrDone]; help and version go to stdout. The kong.Context knows the
// command that was named, if cfg has any.
func Parse(args []string, stdout io.Writer, d Defaults, cfg any) (*kong.Context, error) {
	done := false
	k, err := kong.New(cfg,
		kong.Name(d.Service), kong.Description(d.Description), kong.DefaultEnvars("TIDINGS"),
		kong.Writers(stdout, stdout), kong.Exit(func(int) { done = true }),
		kong.TypeMapper(reflect.TypeFor[slog.Level](), kong.MapperFunc(decodeLevel)),
		kong.Vars{
			"version": d.Service + " " + Version(), "listen": d.Listen, "topic": DefaultTopic,
			"bus": EmbeddedKafka, "data": DefaultData,
		})
	if err != nil {
		return nil, fmt.Errorf("config: flags of %s: %w", d.Service, err)
	}
	parsed, err := k.Parse(joinNegative(args))
	switch {
	case done: // kong goes on after its exit has returned, and may then find faults that don't matter
		return nil, ErrDone
	case err != nil:
		return nil, &UsageError{err}
	}
	if c, ok := cfg.(Config); ok {
		if err := c.Shared().finish(d.Service); err != nil {
			return nil, &UsageError{err}
		}
	}
	return parsed, nil
}

// decodeLevel reads a level of the log, and lists them where it is none.
func decodeLevel(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("level", &text); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("%q is no level; pass debug, info, warn or error", text)
	}
	target.Set(reflect.ValueOf(level))
	return nil
}

// negative is a number or a time below 0. None of our flags is named by a digit.
var negative = regexp.MustCompile(`^-\.?[0-9]`)

// joinNegative makes "--sample -1" one argument. Kong would take the -1 for a flag, and whoever typed it is to read what
// --sample takes, not about flags.
func joinNegative(args []string) []string {
	joined := make([]string, 0, len(args))
	for i, arg := range args {
		before := len(joined) - 1
		switch {
		case arg == "--":
			return append(joined, args[i:]...)
		case before < 0 || !negative.MatchString(arg) || strings.Contains(joined[before], "="):
			joined = append(joined, arg)
		case strings.HasPrefix(joined[before], "--"):
			joined[before] += "=" + arg
		case strings.HasPrefix(joined[before], "-") && len(joined[before]) == len("-n"):
			joined[before] += arg
		default:
			joined = append(joined, arg)
		}
	}
	return joined
}

// finish checks what services share, and gives DB its default.
func (c *Common) finish(service string) error {
	var faults []error
	switch c.Bus {
	case "":
		faults = append(faults, errors.New("--bus is empty; pass an address, such as "+EmbeddedKafka))
	case "kafka":
		faults = append(faults, bareName(c.Bus, "broker", EmbeddedKafka))
	case "redis":
		faults = append(faults, bareName(c.Bus, "PubSub server", EmbeddedRedis))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		faults = append(faults, fmt.Errorf("--listen %s: pass host and port, such as 127.0.0.1:8482: %w", c.Listen, err))
	}
	if c.Topic == "" {
		faults = append(faults, errors.New("--topic is empty"))
	}
	if c.DB == "" {
		c.DB = filepath.Join(DataDir(DefaultData, c.Bus), service+".db")
	}
	return errors.Join(faults...)
}

// bareName is the error of a bus that is named as `tidings up` names the one inside it.
func bareName(bus, what, address string) error {
	return fmt.Errorf("--bus %s: the embedded %s runs inside `tidings up --bus %[1]s`; pass its address: --bus %[3]s", bus, what, address)
}
