package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/config"
)

// settings is a service's Config.
type settings struct {
	config.Common
	Mailbox string `help:"Folder that mails go to." default:"mail" `
	APIKey  string `name:"api-key" help:"Key of the mail server." secret:""`
	Workers int    `short:"w" help:"Mails at once." default:"4"`
}

var defaults = config.Defaults{Service: "mailer", Description: "Welcomes new users.", Listen: "127.0.0.1:8484"}

func parse(t *testing.T, args ...string) (settings, error) {
	t.Helper()
	var cfg settings
	_, err := config.Parse(args, &bytes.Buffer{}, defaults, &cfg)
	return cfg, err
}

func TestDefaults(t *testing.T) {
	cfg, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	want := settings{Mailbox: "mail", Workers: 4, Common: config.Common{
		Bus: "kafka://127.0.0.1:19092", DB: filepath.FromSlash(".tidings/kafka-127.0.0.1-19092/mailer.db"),
		Listen: "127.0.0.1:8484", Topic: "user_activity", Announce: true, LogFormat: "text", LogLevel: slog.LevelInfo,
	}}
	if cfg != want {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestFlagBeforeEnvironmentBeforeDefault(t *testing.T) {
	t.Setenv("TIDINGS_BUS", "kafka://env:1")
	t.Setenv("TIDINGS_DB", "env.db")
	t.Setenv("TIDINGS_LOG_LEVEL", "debug")
	t.Setenv("TIDINGS_LOG_FORMAT", "json")
	t.Setenv("TIDINGS_MAILBOX", "env-mail")
	t.Setenv("TIDINGS_ANNOUNCE", "false")
	t.Setenv("TIDINGS_VERSION", "1.2.3") // which somebody's deployment may set for its own ends
	cfg, err := parse(t, "--bus", "kafka://flag:2", "--log-level=warn")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Bus != "kafka://flag:2" || cfg.LogLevel != slog.LevelWarn {
		t.Errorf("the flags lost: %+v", cfg)
	}
	if cfg.DB != "env.db" || cfg.LogFormat != "json" || cfg.Mailbox != "env-mail" || cfg.Announce {
		t.Errorf("the environment lost: %+v", cfg)
	}
	if cfg.Topic != "user_activity" || cfg.Workers != 4 {
		t.Errorf("the defaults lost: %+v", cfg)
	}
}

// Kong takes -1 after a space for a flag; who typed it is to read what the flag before it takes.
func TestANegativeNumberReachesTheCheckOfItsFlag(t *testing.T) {
	for _, args := range [][]string{{"--workers", "-1"}, {"--workers=-1"}, {"-w", "-1"}, {"--topic=x", "--workers", "-1"}} {
		_, err := config.Parse(args, &bytes.Buffer{}, defaults, &checked{})
		if err == nil || !strings.Contains(err.Error(), "--workers -1: pass 1 or more") {
			t.Errorf("%v: error %v", args, err)
		}
	}
	for _, args := range [][]string{{"-1"}, {"--topic=x", "-1"}, {"--", "--workers", "-1"}, {"--workers", "-x"}} {
		if _, err := parse(t, args...); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	if _, err := parse(t, "--", "-1"); err == nil || !strings.Contains(err.Error(), "unexpected argument -1") {
		t.Errorf("error %v: behind -- there are no flags", err)
	}
	if _, err := parse(t, "--mailbox", "-m"); err == nil || !strings.Contains(err.Error(), `perhaps try --mailbox="-m"`) {
		t.Errorf("error %v, which may well be meant", err)
	}
}

func TestBadUsageNamesTheFlag(t *testing.T) {
	tests := []struct {
		args, env []string
		want      []string
	}{
		{[]string{"--lisen", "x"}, nil, []string{"--lisen", "--listen"}},
		{[]string{"--log-format", "xml"}, nil, []string{"--log-format", "text", "json", "xml"}},
		{[]string{"--log-level", "loud"}, nil, []string{"--log-level", "loud", "debug, info, warn or error"}},
		{[]string{"--workers", "many"}, nil, []string{"--workers", "many"}},
		{nil, []string{"TIDINGS_LOG_LEVEL", "loud"}, []string{"TIDINGS_LOG_LEVEL", "loud"}},
		{[]string{"extra"}, nil, []string{"extra"}},
		{[]string{"--bus", "kafka"}, nil, []string{"--bus kafka", "tidings up", "--bus kafka://127.0.0.1:19092"}},
		{nil, []string{"TIDINGS_BUS", "kafka"}, []string{"--bus kafka://127.0.0.1:19092"}},
		{[]string{"--bus", "redis"}, nil, []string{"--bus redis:", "`tidings up --bus redis`", "--bus redis://127.0.0.1:16379/0"}},
		{[]string{"--bus", ""}, nil, []string{"--bus is empty"}},
		{[]string{"--topic", ""}, nil, []string{"--topic is empty"}},
		{[]string{"--listen", "8484"}, nil, []string{"--listen 8484", "127.0.0.1:8482"}},
		{[]string{"--bus", "kafka", "--topic", ""}, nil, []string{"--bus kafka", "--topic is empty"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(append(tt.args, tt.env...), " "), func(t *testing.T) {
			if tt.env != nil {
				t.Setenv(tt.env[0], tt.env[1])
			}
			_, err := parse(t, tt.args...)
			var usage *config.UsageError
			if !errors.As(err, &usage) || usage.ExitCode() != 2 {
				t.Fatalf("got %v, want a *UsageError with code 2", err)
			}
			for _, word := range tt.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q has no %q in it", err, word)
				}
			}
		})
	}
}

// checked has a check of its own, which must not take the place of Common's.
type checked struct{ settings }

func (c *checked) Validate() error {
	if c.Workers < 1 {
		return fmt.Errorf("--workers %d: pass 1 or more", c.Workers)
	}
	return nil
}

func TestAServiceMayCheckItsOwnSettings(t *testing.T) {
	for args, want := range map[string]string{"--workers=0": "--workers 0: pass 1 or more", "--topic=": "--topic is empty"} {
		_, err := config.Parse([]string{args}, &bytes.Buffer{}, defaults, &checked{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestHelpAndVersionPrintAndEnd(t *testing.T) {
	for flag, want := range map[string][]string{
		"--version": {"mailer ", "go1.", "/"},
		"--help": {"Usage: mailer", "Welcomes new users.", "--bus=URL", "--db=DSN", "--listen=HOST:PORT", "--topic",
			"--log-format", "--log-level", "--mailbox", "127.0.0.1:8484", "$TIDINGS_LOG_FORMAT", "$TIDINGS_API_KEY"},
	} {
		var out bytes.Buffer
		// What else is wrong doesn't matter to who asks for help.
		_, err := config.Parse([]string{flag, "--bus", "kafka", "--log-level=info"}, &out, defaults, &settings{})
		if !errors.Is(err, config.ErrDone) {
			t.Errorf("%s: got %v, want ErrDone", flag, err)
		}
		for _, word := range want {
			if !strings.Contains(out.String(), word) {
				t.Errorf("%s: no %q in %q", flag, word, &out)
			}
		}
	}
}

// commands is a program with commands, whose flags are no service's.
type commands struct {
	Up struct {
		Bus string `default:"kafka"`
	} `cmd:"" help:"Run everything."`
	Status struct {
		JSON bool `name:"json"`
	} `cmd:"" help:"How it stands."`
}

func TestAProgramMayHaveCommands(t *testing.T) {
	var c commands
	ctx, err := config.Parse([]string{"up"}, &bytes.Buffer{}, config.Defaults{Service: "tidings"}, &c)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Command() != "up" || c.Up.Bus != "kafka" {
		t.Errorf("command %q, bus %q", ctx.Command(), c.Up.Bus)
	}
	if got := fmt.Sprint(config.Settings(ctx)); got != "[bus=kafka]" {
		t.Errorf("settings %s: want those of the command that was named", got)
	}
	var usage *config.UsageError
	_, err = config.Parse(nil, &bytes.Buffer{}, config.Defaults{Service: "tidings"}, &c)
	if !errors.As(err, &usage) {
		t.Errorf("no command: %v, want a *UsageError", err)
	}
}

func TestSettingsAreEffectiveAndHideSecrets(t *testing.T) {
	t.Setenv("TIDINGS_API_KEY", "geheim")
	t.Setenv("TIDINGS_TOPIC", "from_env")
	var cfg settings
	ctx, err := config.Parse([]string{"--bus", "kafka://u:geheim@h:9092", "--db", "postgres://u:geheim@h/db?sslpassword=geheim"},
		&bytes.Buffer{}, defaults, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(config.Settings(ctx))
	want := "[bus=kafka://xxxxx@h:9092 db=postgres://xxxxx@h/db?sslpassword=xxxxx listen=127.0.0.1:8484 topic=from_env " +
		"announce=true log-format=text log-level=INFO mailbox=mail api-key=xxxxx workers=4]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
