package database

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// DialectOf is the kind of database that dsn names by its form: Postgres for postgres:// and postgresql://, and SQLite
// for everything else, whether or not [Open] would take it.
func DialectOf(dsn string) Dialect {
	if scheme, _, isURL := cutScheme(dsn); isURL && (scheme == "postgres" || scheme == "postgresql") {
		return Postgres
	}
	return SQLite
}

// keyValue is how the other form of a Postgres address begins. It is refused: a file could be called like that, and
// would be made.
var keyValue = regexp.MustCompile(`^\s*(host|hostaddr|port|dbname|database|user|password|service|sslmode)\s*=`)

func isKeyValue(dsn string) bool { return keyValue.MatchString(dsn) }

// parseDSN returns the path of the SQLite file that dsn names. Its errors never repeat a dsn that may hold a
// password.
func parseDSN(dsn string) (path string, err error) {
	scheme, rest, isURL := cutScheme(dsn)
	switch {
	case dsn == "":
		return "", errors.New("no database is named; pass the path of a file with --db, or postgres://user@host/database")
	case isKeyValue(dsn):
		return "", errors.New("this reads like a Postgres connection string of key=value pairs; pass a URL: --db postgres://user@host:5432/database")
	case dsn == ":memory:" || isURL && strings.HasPrefix(rest, ":memory:"):
		return "", fmt.Errorf("%s would be lost at every stop, and each connection would have its own; pass the path of a file", dsn)
	case !isURL:
		return checkPath(dsn)
	case scheme == "sqlite" || scheme == "file":
		return pathOfURL(dsn, rest)
	default:
		return "", fmt.Errorf("%w: unknown scheme %q; pass the path of a SQLite file with --db, or postgres://user@host/database", ErrUnsupported, scheme)
	}
}

// cutScheme splits "sqlite:…". A scheme has two letters or more, so that C:\data is a path.
func cutScheme(dsn string) (scheme, rest string, found bool) {
	scheme, rest, found = strings.Cut(dsn, ":")
	if !found || len(scheme) < 2 || strings.ContainsFunc(scheme, notSchemeRune) {
		return "", dsn, false
	}
	return strings.ToLower(scheme), rest, true
}

func notSchemeRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '-'
}

// pathOfURL takes sqlite:///absolute, sqlite:relative and sqlite:/absolute. Parameters are refused: the settings
// that matter are ours, and one that was passed over in silence would be worse than none.
func pathOfURL(dsn, rest string) (string, error) {
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		return "", fmt.Errorf("%s: a SQLite database takes no parameters; remove %q", dsn, rest[i:])
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		if !strings.HasPrefix(after, "/") {
			return "", fmt.Errorf("%s: %q stands where a host does; write three slashes for an absolute path, none for a relative one", dsn, after)
		}
		rest = after
	}
	path, err := url.PathUnescape(rest)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dsn, err)
	}
	return checkPath(path)
}

func checkPath(path string) (string, error) {
	if path == "" || strings.HasSuffix(path, "/") || strings.HasSuffix(path, string(filepath.Separator)) {
		return "", fmt.Errorf("%q names a folder; pass the path of a file with --db", path)
	}
	if strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("%q has a zero byte", path)
	}
	return filepath.Clean(path), nil
}
