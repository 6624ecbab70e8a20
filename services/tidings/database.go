package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"

	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
)

// databaseFlags say where the database of a service is. The commands that have them work on it directly: the service,
// and the bus, may be up or down.
type databaseFlags struct {
	DB   string `name:"db" help:"Database of the service, as it was given to it: the path of a SQLite file, or postgres://user@host:5432/database. The default is where the service's own is, and that of tidings up, by --data and --bus." placeholder:"DSN"`
	Bus  string `help:"The bus of the service: each has a folder of its own in --data (default ${default})." default:"kafka" placeholder:"URL"`
	Data string `help:"Folder for all data (default ${default})." default:"${data}" placeholder:"DIR"`
}

// open opens the database of a service, which has to be there.
func (f *databaseFlags) open(ctx context.Context, service string) (*database.DB, error) {
	dsn := f.DB
	if dsn == "" {
		dsn = filepath.Join(config.DataDir(f.Data, f.Bus), service+".db")
	}
	return database.OpenBeside(ctx, dsn, database.ForService(service))
}

// reader is a service that reads events, and so can read them again.
type reader struct {
	name    string
	rebuild func(context.Context, *sql.DB) error // nil where it can't be
	why     error                                // … and why
}

// readers are those of this platform.
var readers = [...]reader{
	{"directory", directory.Rebuild, nil},
	{"audit", nil, audit.ErrNoRebuild},
	{"mailer", nil, mailer.ErrNoRebuild},
}

// ours finds a reader of this platform.
func ours(name string) (r reader, ok bool) {
	for _, r := range readers {
		if r.name == name {
			return r, true
		}
	}
	return r, false
}

// checkReader refuses a service that reads no events. With --db it may be anybody's.
func (f *databaseFlags) checkReader(name string) error {
	if _, ok := ours(name); ok || f.DB != "" && name != owner {
		return nil
	}
	return notAReader(name)
}

// owner is the service that publishes, and reads nothing.
const owner = "users"

func notAReader(name string) error {
	names := make([]string, len(readers))
	for i, r := range readers {
		names[i] = r.name
	}
	which := "pass " + strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
	if name == owner {
		return config.Usage("users owns what it tells of, and reads no events; %s", which)
	}
	return config.Usage("there is no service %q that reads events; %s", name, which)
}

// plural is n things.
func plural(n int, one, more string) string {
	if n == 1 {
		return fmt.Sprint("1 ", one)
	}
	return fmt.Sprint(n, " ", more)
}
