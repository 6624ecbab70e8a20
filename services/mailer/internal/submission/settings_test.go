package submission

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestParseFillsInWhatIsSafe(t *testing.T) {
	t.Setenv(PasswordEnv, "geheim")
	for address, want := range map[string]string{
		"smtp://me@mail.example.org":                   "server=mail.example.org:587 tls=required",
		"smtp://me@mail.example.org:2525":              "server=mail.example.org:2525 tls=required",
		"smtp://me@mail.example.org?tls=opportunistic": "server=mail.example.org:587 tls=opportunistic",
		"smtps://me@mail.example.org":                  "server=mail.example.org:465 tls=implicit",
		"smtp://me@localhost":                          "server=localhost:587 tls=none",
		"smtp://me@[::1]:25":                           "server=[::1]:25 tls=none",
		"smtp://me@127.0.0.1?tls=none":                 "server=127.0.0.1:587 tls=none",
		"smtp://me@127.0.0.1?tls=required":             "server=127.0.0.1:587 tls=required",
		"smtp://me@localhost.example.org":              "server=localhost.example.org:587 tls=required",
		"smtp://me@example.org@mail.example.org":       "user=me@example.org",
		"smtp://me@h?helo=here.example&timeout=2m":     "helo=here.example timeout=2m0s connections=1",
		"smtp://me@h?connections=4":                    "timeout=30s connections=4 user=me password=(from TIDINGS_SMTP_PASSWORD)",
	} {
		s, err := Parse(address)
		if err != nil || !strings.Contains(s.String(), want) {
			t.Errorf("%s: %v, %v; want %q in it", address, s, err, want)
		}
		if strings.Contains(s.String(), "geheim") {
			t.Errorf("%s: the password stands in %q", address, s)
		}
	}
}

func TestParseTakesThePasswordFromAFileFirst(t *testing.T) {
	t.Setenv(PasswordEnv, "other")
	s, err := Parse("smtp://me@h?password.file=" + file(t, "geheim\n"))
	if err != nil || s.password != "geheim" || !strings.Contains(s.String(), "password=(from file ") {
		t.Errorf("password %q, %v, %v", s.password, s, err)
	}
}

func TestParseNeedsNoUser(t *testing.T) {
	s, err := Parse("smtp://mail.example.org:25?tls=none")
	if err != nil || s.user != "" || s.Timeout != 30*time.Second || s.tls != nil {
		t.Errorf("%v, %v", s, err)
	}
}

func TestParseTellsEveryFaultAndNoPassword(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for address, want := range map[string][]string{
		"":                                       {"smtp://user@host:587"},
		"mail.example.org:587":                   {"smtp://user@host:587"},
		"http://me@h":                            {"smtp://", "smtps://"},
		"smtp://":                                {"names no server"},
		"smtp://h:0":                             {"port 0"},
		"smtp://h:70000":                         {"port 70000"},
		"smtp://h/inbox":                         {"nothing but parameters"},
		"smtp://me:geheim@h":                     {"password", PasswordEnv, "password.file"},
		"smtp://me:ge%zzheim@h":                  {"smtp://user@host:587"},
		"smtp://me:ge/heim@h":                    {"smtp://user@host:587"},
		"smtp://me@h":                            {`no password for "me"`, PasswordEnv, "password.file"},
		"smtp://h?tsl=none":                      {`"tsl"`, `"tls"`},
		"smtp://h?tls=maybe":                     {`"maybe"`, "required, opportunistic or none"},
		"smtps://h?tls=required":                 {"always has TLS"},
		"smtp://h?ca.file=" + missing:            {"ca.file", "no such file"},
		"smtp://h?ca.file=" + file(t, "x"):       {"no certificate"},
		"smtp://h?tls=none&ca.file=x":            {"ca.file", "tls=required"},
		"smtp://h?password.file=" + file(t, "p"): {"nobody whose it is"},
		"smtp://me@h?password.file=" + missing:   {"password.file", "no such file"},
		"smtp://me@h?tls=none&password.file=" + file(t, "geheim"): {"for all to read", "tls=required"},
		"smtp://h?helo=a%20b":              {"helo"},
		"smtp://h?helo=":                   {"helo", "empty"},
		"smtp://h?timeout=1ms":             {"timeout", "1s", "1h"},
		"smtp://h?connections=0&timeout=x": {"connections", "from 1 to 100", "timeout"},
	} {
		s, err := Parse(address)
		if err == nil {
			t.Errorf("%s: taken as %v", address, s)
			continue
		}
		for _, word := range want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: no %q in %q", address, word, err)
			}
		}
		if strings.Contains(err.Error(), "heim") {
			t.Errorf("%s: the password stands in %q", address, err)
		}
	}
}
