package lifecycle_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// service is what a service's package has.
type serviceConfig struct {
	config.Common
	Mailbox string `default:"mail" help:"Folder."`
}

func serviceMain(ctx context.Context, in program.IO) error {
	var cfg serviceConfig
	d := config.Defaults{Service: "people", Listen: "127.0.0.1:0"}
	return lifecycle.Main(ctx, in, d, &cfg, openBus(away{}), func(env lifecycle.Env) lifecycle.Service {
		return lifecycle.New(lifecycle.Spec{
			Name: "people", API: api, Config: cfg.Common, Migrations: migrations, Build: build,
		}, env)
	})
}

func TestMainRunsAServiceUntilItsContextEnds(t *testing.T) {
	var stdout, stderr buffer
	path := filepath.Join(t.TempDir(), "people.db")
	in := program.IO{Name: "people", Stdout: &stdout, Stderr: &stderr,
		Args: []string{"--bus", "kafka://u:geheim@h:9092", "--db", path}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serviceMain(ctx, in) }()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(stderr.String(), "msg=serving"); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve: %s", &stderr)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	var starting, serving, stopped int
	for i, line := range lines {
		switch {
		case strings.Contains(line, "msg=starting"):
			starting = i
			for _, word := range []string{"service=people", "version=", "bus=kafka://xxxxx@h:9092", "db=" + path,
				"listen=127.0.0.1:0", "topic=user_activity", "log-format=text", "log-level=INFO", "mailbox=mail"} {
				if !strings.Contains(line, word) {
					t.Errorf("no %q in %s", word, line)
				}
			}
		case strings.Contains(line, "msg=serving"):
			serving = i
			if !strings.Contains(line, "service=people") || !strings.Contains(line, "address=127.0.0.1:") {
				t.Errorf("%s", line)
			}
		case strings.Contains(line, "msg=stopped"):
			stopped = i
		}
	}
	if starting != 0 || serving <= starting || stopped != len(lines)-1 || strings.Contains(stderr.String(), "geheim") {
		t.Errorf("logged:\n%s", &stderr)
	}
	if stdout.String() != "" {
		t.Errorf("printed %s", &stdout)
	}
}

func TestMainPassesOnWhatIsWrongWithTheFlags(t *testing.T) {
	var stdout, stderr buffer
	in := program.IO{Name: "people", Stdout: &stdout, Stderr: &stderr, Args: []string{"--bus", "kafka"}}
	var usage *config.UsageError
	if err := serviceMain(t.Context(), in); !errors.As(err, &usage) {
		t.Errorf("got %v, want a *UsageError", err)
	}
	if code := program.Main(in, serviceMain); code != program.Usage || !strings.HasPrefix(stderr.String(), "people: --bus kafka: ") {
		t.Errorf("code %d, printed %q", code, &stderr)
	}
	in.Args = []string{"--version"}
	if code := program.Main(in, serviceMain); code != 0 || !strings.HasPrefix(stdout.String(), "people ") {
		t.Errorf("--version: code %d, printed %q", code, &stdout)
	}
}

func TestMainNamesAnAddressInUseAsTheIssueHasIt(t *testing.T) {
	var stdout, stderr buffer
	address := mustListen(t)
	in := program.IO{Name: "people", Stdout: &stdout, Stderr: &stderr,
		Args: []string{"--listen", address, "--db", filepath.Join(t.TempDir(), "people.db"), "--log-level", "error"}}
	code := program.Main(in, serviceMain)
	want := "people: --listen " + address + " is in use; stop the other process or pass --listen\n"
	if code != 1 || stderr.String() != want {
		t.Errorf("code %d, printed %q; want 1, %q", code, &stderr, want)
	}
}
