package database

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// noLibpq hides what the environment of whoever runs the tests says of Postgres.
func noLibpq(t *testing.T) {
	t.Helper()
	for _, name := range []string{PasswordEnv, "PGPASSWORD", "PGPASSFILE", "PGDATABASE", "PGUSER", "PGHOST", "PGPORT", "PGSSLMODE", "PGCONNECT_TIMEOUT"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
}

func TestAPostgresAddressSaysWhereAndWhich(t *testing.T) {
	noLibpq(t)
	for dsn, want := range map[string]server{
		"postgres://u@h/d":                                {schema: "directory", pool: 10, tcpTimeout: 15 * time.Second},
		"postgresql://u@h:5432/d?schema=other":            {schema: "other", pool: 10, tcpTimeout: 15 * time.Second},
		"postgres://u@h/d?search_path=people_2":           {schema: "people_2", pool: 10, tcpTimeout: 15 * time.Second},
		"postgres://u@h/d?schema=public&sslmode=disable":  {schema: "public", pool: 10, tcpTimeout: 15 * time.Second},
		"postgres://u@h/d?pool_max_conns=40":              {schema: "directory", pool: 40, tcpTimeout: 15 * time.Second},
		"POSTGRES://u@h/d?tcp_user_timeout=2500":          {schema: "directory", pool: 10, tcpTimeout: 2500 * time.Millisecond},
		"postgres://u@h,h2:5433/d?application_name=other": {schema: "directory", pool: 10, tcpTimeout: 15 * time.Second},
	} {
		got, err := parsePostgres(dsn, "directory")
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		c := got.config
		if c.Host != "h" || c.Port != 5432 || c.Database != "d" || c.User != "u" || c.Password != "" {
			t.Errorf("%s: at %s, port %d, database %s, user %s", dsn, c.Host, c.Port, c.Database, c.User)
		}
		for name := range c.RuntimeParams { // what libpq doesn't know, pgx would send to the server
			if name != "application_name" {
				t.Errorf("%s: the server is told %s", dsn, name)
			}
		}
		want.config = c
		if *got != want {
			t.Errorf("%s: got %+v, want %+v", dsn, *got, want)
		}
	}
}

func TestWithSeveralServersTheOneThatTakesWritesIsUsed(t *testing.T) {
	noLibpq(t)
	for dsn, want := range map[string]bool{
		"postgres://u@h/d": false, "postgres://u@h,h2/d": true, "postgres://u@h,h2/d?target_session_attrs=any": false,
	} {
		s, err := parsePostgres(dsn, "directory")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.config.ValidateConnect != nil; got != want {
			t.Errorf("%s: the server is checked: %v", dsn, got)
		}
	}
}

func TestAPostgresAddressThatIsWrongSaysWhatToDo(t *testing.T) {
	noLibpq(t)
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string]string{
		"postgres://u:geheim@h/d":                                          "pass it by TIDINGS_DB_PASSWORD, PGPASSWORD, ?password.file=PATH",
		"postgres://u:@h/d":                                                "a password stands in the URL",
		"postgres://u@h/d?password=geheim":                                 "a password stands in the URL",
		"postgres://u:ge%heim@h/d":                                         "no URL that can be read",
		"postgres://u:geheim@h:port/d":                                     "no URL that can be read",
		"postgres://u@h/d?shema=x":                                         `unknown parameter "shema"; did you mean "schema"?`,
		"postgres://u@h/d?synchronous_commit=off":                          `unknown parameter "synchronous_commit"`,
		"postgres://u@h/d?schema=a&search_path=b":                          "leave one out",
		"postgres://u@h/d?search_path=a,b":                                 `"a,b" can't be the schema; pass one name`,
		"postgres://u@h/d?schema=":                                         `"" can't be the schema`,
		"postgres://u@h/d?schema=Users":                                    "lower-case letters",
		"postgres://u@h/d?schema=pg_catalog":                               "can't be the schema",
		"postgres://u@h/d?schema=x;drop":                                   "--db",
		"postgres://u@h/d?pool_max_conns=2":                                "a number from 4 to 1000",
		"postgres://u@h/d?pool_max_conns=x&schema=A":                       `"A" can't be the schema`,
		"postgres://u@h/d?connect_timeout=x":                               "--db",
		"postgres://u@h/d?sslmode=perhaps":                                 "sslmode",
		"postgres://u@h":                                                   "no database is named",
		"postgres://u@h/d?password.file=" + missing:                        "missing",
		"postgres://u@h/d?password.file=" + empty:                          "is empty",
		"postgres://u@h/d?sslrootcert=" + missing + "&sslmode=verify-full": "--db",
	} {
		_, err := parsePostgres(dsn, "directory")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--db") || strings.Contains(err.Error(), "heim") {
			t.Errorf("%s: got %v, want --db and %q in it, and no password", dsn, err, want)
		}
	}
	if _, err := parsePostgres("postgres://u@h/d", ""); err == nil || !strings.Contains(err.Error(), "?schema=NAME") {
		t.Errorf("without a service: %v", err)
	}
}

// The first that there is, in this order.
func TestWhereThePasswordComesFrom(t *testing.T) {
	noLibpq(t)
	password := func(dsn string) string {
		t.Helper()
		s, err := parsePostgres(dsn, "directory")
		if err != nil {
			t.Fatal(err)
		}
		return s.config.Password
	}
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passfile := "postgres://u@h/d?passfile=" + write("pgpass", "h:5432:d:u:from passfile\n")
	file := passfile + "&password.file=" + write("password", "from file\n")
	if got := password(passfile); got != "from passfile" {
		t.Errorf("passfile: %q", got)
	}
	t.Setenv("PGPASSWORD", "from libpq's variable")
	if got := password(passfile); got != "from libpq's variable" {
		t.Errorf("PGPASSWORD: %q", got)
	}
	t.Setenv(PasswordEnv, "from ours")
	if got := password(passfile); got != "from ours" {
		t.Errorf("%s: %q", PasswordEnv, got)
	}
	if got := password(file); got != "from file" {
		t.Errorf("password.file: %q", got)
	}
}

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "Ada": "Ada", "Ädä 山": "Ädä 山", "a\x00b": "a\uFFFDb", "\xff\xfe": "\uFFFD", "a\x00\xffz": "a\uFFFD\uFFFDz", "\uFFFD": "\uFFFD",
	} {
		if got := Text(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
}
