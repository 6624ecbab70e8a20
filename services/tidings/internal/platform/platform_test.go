package platform_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const any0 = "127.0.0.1:0"

// buffer is a bytes.Buffer that several services may write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// changes is what OnChange was told.
type changes struct {
	mu  sync.Mutex
	all []string
}

func (c *changes) add(s lifecycle.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, s.Service+" "+string(s.State))
}

func (c *changes) has(s string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(strings.Join(c.all, ",")+",", s+",")
}

func newConfig(t *testing.T) platform.Config {
	t.Helper()
	return platform.Config{
		Bus: platform.EmbeddedKafka, Broker: any0, Data: t.TempDir(), Topic: "t", Door: any0,
		Users: any0, Directory: any0, Audit: any0, Mailer: any0, Log: slog.New(slog.DiscardHandler),
	}
}

// newPlatform makes a platform that is closed at the test's end, if the test has not closed it.
func newPlatform(t *testing.T, cfg platform.Config) (p *platform.Platform, closeIt func()) {
	t.Helper()
	p, err := platform.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	closeIt = sync.OnceFunc(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(closeIt)
	return p, closeIt
}

func stateOf(t *testing.T, p *platform.Platform, name string) lifecycle.Status {
	t.Helper()
	s, ok := p.Report(t.Context()).Service(name)
	if !ok {
		t.Fatalf("no %s in the report", name)
	}
	return s
}

func TestAPlatformReportsAndStopsAndStartsByName(t *testing.T) {
	cfg, told, log := newConfig(t), &changes{}, &buffer{}
	cfg.OnChange, cfg.Log = told.add, slog.New(slog.NewTextHandler(log, nil))
	cfg.More = map[string][]string{"mailer": {"--mail-max-age=1h"}}
	p, _ := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		r := p.Report(t.Context())
		standing := 0
		for _, s := range r.Services {
			if s.State != lifecycle.Serving || s.Address == "" {
				t.Fatalf("%s is %+v", s.Service, s)
			}
			if s.Bus && s.Lag == 0 {
				standing++
			}
		}
		if standing == 4 {
			if !r.Quiet || !r.Bus.Embedded || !r.Bus.KeepsLog || r.Bus.Without != "" || r.Bus.Topic != "t" || r.Bus.Guarantees == "" || r.Data != cfg.Dir() {
				t.Errorf("report %+v", r)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("they don't find the bus: %+v", r.Services)
		}
	}
	if err := p.Stop(t.Context(), "audit"); err != nil || stateOf(t, p, "audit").State != lifecycle.Stopped {
		t.Errorf("stop: %v", err)
	}
	if !told.has("audit stopping,audit stopped") {
		t.Errorf("told %v by the time that it was stopped", told.all)
	}
	if stateOf(t, p, "mailer").State != lifecycle.Serving {
		t.Error("the others do not go on")
	}
	for range 2 { // the second does nothing
		if err := p.Start(t.Context(), "audit"); err != nil || stateOf(t, p, "audit").State != lifecycle.Serving {
			t.Errorf("start: %v", err)
		}
	}
	if err := p.Stop(t.Context(), "nobody"); !errors.Is(err, control.ErrUnknownService) || !strings.Contains(err.Error(), "mailer") {
		t.Errorf("stop of nobody: %v", err)
	}
	for _, line := range []string{"msg=settings service=mailer", "mail-max-age=1h", "msg=settings service=users", "outbox-keep="} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %q in the log", line)
		}
	}
}

func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", any0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestAnAddressInUseEndsAllAndNamesUpsFlag(t *testing.T) {
	inUse := listen(t)
	for flag, set := range map[string]func(*platform.Config){
		"users: --users":         func(c *platform.Config) { c.Users = inUse },
		"directory: --directory": func(c *platform.Config) { c.Directory = inUse },
		"audit: --audit":         func(c *platform.Config) { c.Audit = inUse },
		"mailer: --mailer":       func(c *platform.Config) { c.Mailer = inUse },
		"users: start: --door":   func(c *platform.Config) { c.Door = inUse },
	} {
		cfg := newConfig(t)
		set(&cfg)
		p, closeIt := newPlatform(t, cfg)
		err := p.StartAll(t.Context())
		_, name, _ := strings.Cut(flag, "--")
		want := flag + " " + inUse + " is in use; stop the other process or pass --" + name
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		closeIt()
	}
}

func TestAServiceThatCannotStartLeavesTheOthersAlone(t *testing.T) {
	cfg := newConfig(t)
	if err := os.MkdirAll(cfg.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.Dir(), "directory.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _ := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatalf("it takes all down: %v", err)
	}
	s := stateOf(t, p, "directory")
	hint := "delete " + file + " and start it: it fills again from the log"
	if s.State != lifecycle.Failed || !strings.Contains(s.Error, hint) {
		t.Errorf("status %+v, want it to say: %s", s, hint)
	}
	if stateOf(t, p, "audit").State != lifecycle.Serving || stateOf(t, p, "users").State != lifecycle.Serving {
		t.Error("the others do not serve")
	}
	if err := p.Start(t.Context(), "directory"); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("start: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context(), "directory"); err != nil || stateOf(t, p, "directory").State != lifecycle.Serving {
		t.Errorf("start, after it was deleted: %v", err)
	}
}

func TestTheOwnersDatabaseIsNotToBeDeleted(t *testing.T) {
	cfg := newConfig(t)
	if err := os.MkdirAll(filepath.Join(cfg.Dir(), "users.db"), 0o700); err != nil { // a folder
		t.Fatal(err)
	}
	p, _ := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(t, p, "users"); s.State != lifecycle.Failed || strings.Contains(s.Error, "delete") {
		t.Errorf("status %+v", s)
	}
}

func TestItEndsWhereNobodyServes(t *testing.T) {
	cfg := newConfig(t)
	for _, name := range []string{"users", "directory", "audit", "mailer"} {
		release, err := database.Lock(filepath.Join(cfg.Dir(), name+".db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = release() })
	}
	p, _ := newPlatform(t, cfg)
	err := p.StartAll(t.Context())
	if err == nil || strings.Contains(err.Error(), "--db") || strings.Contains(err.Error(), "\n") ||
		strings.Count(err.Error(), "pass another --data") != 4 {
		t.Errorf("got %v, want one line that names --data", err)
	}
}

func TestClear(t *testing.T) {
	cfg := newConfig(t)
	release, err := cfg.Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = release() }()
	_, err = cfg.Claim()
	want := "a platform runs on the data in " + cfg.Dir() + " already"
	if !errors.Is(err, database.ErrInUse) || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "pass another --data") {
		t.Errorf("a second claim: %v, want %s", err, want)
	}
	p, closeIt := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Clear(t.Context()); !errors.Is(err, database.ErrInUse) || !strings.Contains(err.Error(), "another --data") {
		t.Errorf("while it runs: %v, want ErrInUse", err)
	}
	closeIt()
	foreign := filepath.Join(cfg.Dir(), "letters.txt")
	if err := os.WriteFile(foreign, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(cfg.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "letters.txt" && !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("%s is left", e.Name())
		}
	}
	if b, err := os.ReadFile(foreign); err != nil || string(b) != "dear" {
		t.Errorf("what is not ours: %q, %v", b, err)
	}
}

func TestClearIsRefusedForARealBus(t *testing.T) {
	cfg := newConfig(t)
	cfg.Bus = "kafka://u:geheim@127.0.0.1:1"
	var usage *config.UsageError
	if err := cfg.Clear(t.Context()); !errors.As(err, &usage) || strings.Contains(err.Error(), "geheim") {
		t.Errorf("got %v, want a *UsageError", err)
	}
	if _, err := os.Stat(cfg.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}

func TestCheckFindsAMistakeInTheBusAndMakesNothing(t *testing.T) {
	cfg := newConfig(t)
	for bus, want := range map[string]string{"kafka": "", "redis": "", "kafka://127.0.0.1:1": "", "redis://127.0.0.1:1": "", "redis://127.0.0.1:1?buffr=1": `"buffer"`, "h:9": `no backend for scheme "h"`, "kafka://127.0.0.1:1?ack=1": `"acks"`} {
		cfg.Bus = bus
		err := cfg.Check(context.Background())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bus, err)
		}
		if _, err := os.Stat(cfg.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: its folder: %v", bus, err)
		}
	}
}
