package platform_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
)

func redisConfig(t *testing.T) platform.Config {
	t.Helper()
	cfg := newConfig(t)
	cfg.Bus = platform.EmbeddedRedis
	return cfg
}

// write makes users through the write door, from number first on.
func write(t *testing.T, p *platform.Platform, first, n int) {
	t.Helper()
	door := stateOf(t, p, "users").Door
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := first; i < first+n; i++ {
		resp, err := client.Post("http://"+door+"/v1/users", "application/json",
			strings.NewReader(fmt.Sprintf(`{"email":"%d@example.org","name":"A"}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("POST answers %s", resp.Status)
		}
	}
}

// upToDate waits until nothing is on its way to any of the services.
func upToDate(t *testing.T, p *platform.Platform, names ...string) (r control.Report) {
	t.Helper()
	servicetest.Await(t, servicetest.Soon, 20*time.Millisecond, fmt.Sprint(names, " are up to date"), func() (bool, any) {
		r = p.Report(t.Context())
		owner, _ := r.Service("users")
		for _, name := range names {
			if s, _ := r.Service(name); !s.Bus || !r.UpToDate(s) || owner.Outbox.Unsent > 0 {
				return false, s
			}
		}
		return r.Quiet, r
	})
	return r
}

// The same commands as on Kafka; what differs is what becomes of who was stopped, and what is said of it.
func TestOnRedisWhoWasStoppedMissesAndCounts(t *testing.T) {
	t.Parallel() // it waits for numbers to be repeated, as the others do
	p, _ := newPlatform(t, redisConfig(t))
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := []string{"directory", "audit", "mailer"}
	upToDate(t, p, all...)
	write(t, p, 0, 10)
	r := upToDate(t, p, all...)
	if d := r.Disagreements(); len(d) > 0 || r.Bus.KeepsLog || !r.Bus.Embedded || r.Bus.Without != "durable, replayable, groups" {
		t.Errorf("they disagree: %v; bus %+v", d, r.Bus)
	}
	if err := p.Stop(t.Context(), "directory"); err != nil {
		t.Fatal(err)
	}
	write(t, p, 10, 7)
	upToDate(t, p, "audit", "mailer")
	if err := p.Start(t.Context(), "directory"); err != nil {
		t.Fatal(err)
	}
	r = upToDate(t, p, all...)
	s, _ := r.Service("directory")
	owner, _ := r.Service("users")
	if s.Missed != 7 || s.Count != 10 || s.Seq != 17 || owner.Seq != 17 || owner.Outbox.Unheard != 0 {
		t.Errorf("directory %+v, users %+v; want 7 of 17 missed", s, owner)
	}
	want := "directory has 10 keys and 10 versions, users 17 and 17: it missed 7 events, and this bus has kept nothing"
	if d := r.Disagreements(); len(d) != 1 || d[0] != want {
		t.Errorf("they disagree: %q, want %q", d, want)
	}
	if audit, _ := r.Service("audit"); audit.Count != 17 || audit.Missed != 0 {
		t.Errorf("audit %+v; want all of it", audit)
	}
}

// Deleting a reader's database fills it again from a log only, so nothing else is promised.
func TestOnRedisABrokenDatabaseIsNotSaidToFillAgain(t *testing.T) {
	cfg := redisConfig(t)
	if err := os.MkdirAll(cfg.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.Dir(), "directory.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _ := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := stateOf(t, p, "directory")
	if s.State != lifecycle.Failed || strings.Contains(s.Error, "fills again") || !strings.Contains(s.Error, "put a backup of "+file+" back, or delete it") {
		t.Errorf("status %+v", s)
	}
}

func TestOnRedisEverythingStaysButWhatWasOnItsWay(t *testing.T) {
	t.Parallel()
	cfg := redisConfig(t)
	for round := range 2 {
		p, closeIt := newPlatform(t, cfg)
		if err := p.StartAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		upToDate(t, p, "directory", "audit", "mailer")
		write(t, p, 5*round, 5)
		r := upToDate(t, p, "directory", "audit", "mailer")
		if s, _ := r.Service("directory"); s.Count != int64(5*round+5) || s.Missed != 0 || len(r.Disagreements()) > 0 {
			t.Errorf("round %d: %+v, %v", round, s, r.Disagreements())
		}
		closeIt()
	}
	if err := cfg.Clear(t.Context()); err != nil {
		t.Errorf("fresh: %v", err)
	}
	p, _ := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(t, p, "users"); s.Count != 0 || s.Seq != 0 {
		t.Errorf("after it was emptied: %+v", s)
	}
}

// Who empties an owner contradicts a log, and nothing else.
func TestClearIsRefusedForALogOnly(t *testing.T) {
	cfg := newConfig(t)
	for bus, refused := range map[string]bool{
		"kafka": false, "redis": false, "redis://127.0.0.1:1": false, "kafka://127.0.0.1:1": true, "kafka://127.0.0.1:1?acks=1": true,
	} {
		cfg.Bus = bus
		if err := cfg.CheckClear(t.Context()); (err != nil) != refused {
			t.Errorf("%s: %v", bus, err)
		}
	}
}

func TestTheServersHaveAddressesOfTheirOwn(t *testing.T) {
	for bus, address := range map[string]string{platform.EmbeddedKafka: "127.0.0.1:19092", platform.EmbeddedRedis: "127.0.0.1:16379"} {
		cfg := newConfig(t)
		cfg.Bus, cfg.Broker = bus, ""
		l, err := net.Listen("tcp", address)
		if err == nil {
			defer l.Close() // else somebody else has it, which does as well
		}
		if _, err := platform.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "--broker: ") || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v, want that %s is in use", bus, err, address)
		}
	}
}

// What a bus keeps is known by its address, before any service has served.
func TestWhetherTheBusKeepsALogIsKnownFromTheStart(t *testing.T) {
	for bus, want := range map[string]bool{
		platform.EmbeddedKafka: true, platform.EmbeddedRedis: false, "kafka://127.0.0.1:1": true, "redis://127.0.0.1:1": false,
	} {
		cfg := newConfig(t)
		cfg.Bus = bus
		p, _ := newPlatform(t, cfg)
		if r := p.Report(t.Context()); r.Bus.KeepsLog != want {
			t.Errorf("%s: %+v", bus, r.Bus)
		}
	}
}

// Nothing that an owner sends in its first moments is to be unheard: those who are to hear it are there before it.
func TestOnRedisTheReadersListenBeforeTheOwnerStarts(t *testing.T) {
	cfg := redisConfig(t)
	var mu sync.Mutex
	var p *platform.Platform
	before := map[string]bool{}
	made := make(chan struct{})
	cfg.OnChange = func(s lifecycle.Status) {
		if s.Service != "users" || s.State != lifecycle.Starting {
			return
		}
		<-made
		mu.Lock()
		defer mu.Unlock()
		for _, s := range p.Report(t.Context()).Services {
			before[s.Service] = s.Bus
		}
	}
	p, _ = newPlatform(t, cfg)
	close(made)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, name := range []string{"directory", "audit", "mailer"} {
		if !before[name] {
			t.Errorf("%s did not listen when users was started", name)
		}
	}
}

// A server that is away, or refuses, is waited for neither at the start nor without a word.
func TestOnRedisTheReasonIsTold(t *testing.T) {
	t.Parallel() // an owner notices after a while
	cfg := newConfig(t)
	cfg.Bus = "redis://127.0.0.1:1"
	p, _ := newPlatform(t, cfg)
	if err := p.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	servicetest.Await(t, servicetest.Soon, 20*time.Millisecond, "every service says why", func() (bool, any) {
		r := p.Report(t.Context())
		for _, s := range r.Services {
			if s.Bus || !strings.Contains(s.BusError, "redis at 127.0.0.1:1: ") {
				return false, s
			}
		}
		return true, r
	})
}
