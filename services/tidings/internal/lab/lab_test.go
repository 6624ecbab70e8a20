package lab

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

const few = 30

// onServer is the experiment on one kind of bus, against the server at a URL, or the one inside this process for "".
// It returns what the run told, too.
func onServer(t *testing.T, id, url string) (Outcome, *steps) {
	t.Helper()
	dir, told := t.TempDir(), &steps{}
	report, err := run(t.Context(), Config{Users: few, temp: dir, Kafka: url, Redis: url, Step: told.add}, only(t, id))
	if err != nil {
		t.Fatalf("%v, after:\n%v", err, told)
	}
	nothingIn(t, dir)
	o := report.Buses[0]
	if o.WhileDown != few || o.Written != 2*few || o.Guarantees == "" {
		t.Errorf("got %+v", o)
	}
	if faults := report.Faults(); faults != nil {
		t.Error(faults)
	}
	if o.Embedded != (url == "") || strings.Contains(o.Server(), "inside this process") != o.Embedded {
		t.Errorf("of %q: %q, %+v", url, o.Server(), o)
	}
	return o, told
}

func wantAll(t *testing.T, o Outcome) {
	t.Helper()
	if o.Missed != 0 || o.Counted != 0 || o.CaughtUp == nil || o.NewcomerReceived != 2*few {
		t.Errorf("got %+v", o)
	}
}

func TestOnAKafkaOfOnesOwnTheTopicIsDeleted(t *testing.T) {
	t.Parallel()
	url := servicetest.KafkaURL(t)
	o, told := onServer(t, "kafka", url)
	wantAll(t, o)
	noTopic(t, url, told.topic(t))
}

// The command's own test has the server inside the process.
func TestOnRedisWhatIsMissedIsCountedToTheUnit(t *testing.T) {
	t.Parallel() // of its 10 s it waits for most
	o, told := onServer(t, "redis", servicetest.RedisURL(t))
	if o.Missed != few || o.Counted != few || o.CaughtUp != nil || o.NewcomerReceived != 0 {
		t.Errorf("got %+v", o)
	}
	// It knows before anything more is written, by the owner's number alone.
	if want := "it lacks 30, and says that it missed 30"; !strings.Contains(told.String(), want) {
		t.Errorf("no %q in:\n%v", want, told)
	}
}

// What directory holds is asked for, not taken from its counters: here somebody is deleted behind its back.
func TestWhatAServiceHoldsIsNotTakenFromItsWord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	forget := func(_, what string) {
		if !strings.HasPrefix(what, "writing") {
			return
		}
		found, err := filepath.Glob(filepath.Join(dir, "tidings-lab-*", "kafka", "directory.db"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		db, err := sql.Open("sqlite3", "file:"+found[0]+"?_busy_timeout=5000")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), `DELETE FROM people WHERE email = $1`, address(1)); err != nil {
			t.Fatal(err)
		}
	}
	report, err := run(t.Context(), Config{Users: few, Step: forget, temp: dir}, only(t, "kafka"))
	if err != nil {
		t.Fatal(err)
	}
	o := report.Buses[0]
	if o.Missed != 1 || o.Counted != 0 || o.CaughtUp == nil || o.NewcomerReceived != 2*few {
		t.Errorf("got %+v, want 1 missed", o)
	}
	if faults := report.Faults(); len(faults) != 1 || !strings.HasPrefix(faults[0], "Kafka: directory missed 1 of 60 users") {
		t.Errorf("faults %q", faults)
	}
}

// At whichever step it is interrupted, nothing is left: no file, no goroutine, no topic. "" is while users are written.
func TestCancelledOnKafkaItLeavesNothing(t *testing.T) {
	url := servicetest.KafkaURL(t)
	for _, step := range []string{"the server", "", "starting directory", "writing", "starting a brand-new"} {
		dir, before := t.TempDir(), goleak.IgnoreCurrent()
		told := cancelledAt(t, "kafka", step, Config{Users: few, Kafka: url, temp: dir})
		nothingIn(t, dir)
		noTopic(t, url, told.topic(t))
		if err := goleak.Find(before); err != nil {
			t.Errorf("at %q: %v", step, err)
		}
	}
}

// The topic is made before a service says that the server is there.
func TestCancelledWhenTheTopicIsMadeItLeavesNone(t *testing.T) {
	t.Parallel()
	url, told := servicetest.KafkaURL(t), &steps{}
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		select {
		case <-began:
		case <-ctx.Done():
			return
		}
		for topic := told.topic(t); ctx.Err() == nil && !slices.Contains(kafkaTopics(t, url), topic); {
		}
	})
	step := func(bus, what string) {
		told.add(bus, what)
		if strings.HasPrefix(what, "the server") {
			close(began)
		}
	}
	_, err := run(ctx, Config{Users: MaxUsers, Kafka: url, Step: step, temp: t.TempDir()}, only(t, "kafka"))
	cancel()
	watching.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	noTopic(t, url, told.topic(t))
}

// A topic that could not be deleted is named, so that somebody can. An error that is context.Canceled too would be
// printed as "interrupted" and no more.
func TestATopicThatIsLeftIsNamed(t *testing.T) {
	t.Parallel()
	url, told := servicetest.KafkaURL(t), &steps{}
	k := only(t, "kafka")
	refuse := errors.New("not authorized")
	k[0].remove = func(ctx context.Context, rawURL string, topics ...string) error {
		return errors.Join(refuse, kafka.DeleteTopics(ctx, rawURL, topics...))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := run(ctx, Config{Users: 1, Kafka: url, temp: t.TempDir(), Step: func(bus, what string) {
		told.add(bus, what)
		if strings.HasPrefix(what, "writing") {
			cancel()
		}
	}}, k)
	want := "lab: Kafka: interrupted, but the topic " + told.topic(t) + " is left on " + url + ", delete it: not authorized"
	if !errors.Is(err, refuse) || errors.Is(err, context.Canceled) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	noTopic(t, url, told.topic(t))
}

func TestCancelledOnRedisItLeavesNothing(t *testing.T) {
	url := servicetest.RedisURL(t)
	for _, step := range []string{"the server", "", "starting directory", "it waits"} {
		dir, before := t.TempDir(), goleak.IgnoreCurrent()
		cancelledAt(t, "redis", step, Config{Users: few, Redis: url, temp: dir})
		nothingIn(t, dir)
		if err := goleak.Find(before); err != nil {
			t.Errorf("at %q: %v", step, err)
		}
	}
}

func TestWrongFlagsAreFoundBeforeAnythingIsMade(t *testing.T) {
	dir := t.TempDir()
	for want, cfg := range map[string]Config{
		"lab: 0 users":                   {},
		"lab: 100001 users":              {Users: MaxUsers + 1},
		"--kafka redis://h:1: pass":      {Users: 1, Kafka: "redis://h:1"},
		"--kafka h:9092: pass":           {Users: 1, Kafka: "h:9092"},
		"--kafka kafka: pass":            {Users: 1, Kafka: "kafka"},
		"--kafka kafka://: pass":         {Users: 1, Kafka: "kafka://"},
		`--kafka: bus: `:                 {Users: 1, Kafka: "kafka://h:1?ack=1"},
		"--redis kafka://xxxxx@h:1: pas": {Users: 1, Redis: "kafka://u:geheim@h:1"},
		"--redis redis: pass":            {Users: 1, Redis: "redis"},
	} {
		cfg.temp = dir
		cfg.Step = func(string, string) { t.Errorf("%s: it began", want) }
		_, err := Run(t.Context(), cfg)
		var usage *config.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v, want a *UsageError: %s …", err, want)
		}
	}
	nothingIn(t, dir)
}

func TestNoFolderForTemporaryFiles(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nowhere"))
	if _, err := Run(t.Context(), Config{Users: 1}); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "lab: ") {
		t.Errorf("got %v", err)
	}
}
