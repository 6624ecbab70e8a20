package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
)

func openParking(t testing.TB, in *Inbox) *Parking {
	t.Helper()
	p, err := OpenParking(t.Context(), in.cfg.DB)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// list lists what a filter takes: "id state key:version".
func (p *Parking) list(t testing.TB, f Filter) (rows []ParkedEvent, lines []string) {
	t.Helper()
	rows, err := p.List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		lines = append(lines, fmt.Sprintf("%s %s:%d", r.State, r.Key, r.Version))
	}
	return rows, lines
}

// the only row that a filter takes.
func (p *Parking) the(t testing.TB, f Filter) ParkedEvent {
	t.Helper()
	rows, lines := p.list(t, f)
	if len(rows) != 1 {
		t.Fatalf("%+v takes %v, want one row", f, lines)
	}
	return rows[0]
}

func mustRetryParked(t testing.TB, p *Parking, ids ...int64) {
	t.Helper()
	if n, err := p.Retry(t.Context(), ids...); err != nil || n != len(ids) {
		t.Fatalf("Retry = %d, %v", n, err)
	}
}

func TestParkingListsWhatIsParked(t *testing.T) {
	p := &plan{left: map[string]int{"a:2": -1, "b:1": -1}}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, "A"), updated(t, "a", 3, ""), created(t, "b", 1, ""), bus.Event{Key: "k", Data: []byte("x"), Err: errTest})
	l.all(in)
	parking := openParking(t, in)
	for _, tt := range []struct {
		f    Filter
		want []string
	}{
		{Filter{}, []string{"dead k:0", "parked a:2", "behind a:3", "parked b:1"}},
		{Filter{Key: "a"}, []string{"parked a:2", "behind a:3"}},
		{Filter{State: "parked", Source: source, Group: "test"}, []string{"parked a:2", "parked b:1"}},
		{Filter{Group: "another"}, nil},
		{Filter{Limit: 2}, []string{"dead k:0", "parked a:2"}},
	} {
		if _, got := parking.list(t, tt.f); !cmp.Equal(got, tt.want) {
			t.Errorf("%+v takes %v, want %v", tt.f, got, tt.want)
		}
	}
	rows, _ := parking.list(t, Filter{Limit: 2})
	if _, got := parking.list(t, Filter{After: rows[1].ID}); !cmp.Equal(got, []string{"behind a:3", "parked b:1"}) {
		t.Errorf("the next page is %v", got)
	}
	row, err := parking.Get(t.Context(), rows[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	e, err := bus.ParseEnvelope(row.Raw)
	if err != nil || e.Key != "a" || e.Version != 2 {
		t.Errorf("the bytes hold %+v, %v", e, err)
	}
	if row.Next.Before(c.now) || row.Next.After(c.now.Add(2*time.Second)) {
		t.Errorf("it is tried at %v", row.Next)
	}
	row.Raw, row.Next = nil, time.Time{}
	want := ParkedEvent{
		ID: row.ID, Group: "test", State: "parked", Source: source, Key: "a", Version: 2, Have: 1, Type: e.Type, EventID: e.ID,
		Attempts: 1, Error: "test error", Time: time.UnixMilli(c.now.UnixMilli()), At: bus.Position{Topic: topic, Log: l.id, Offset: 1},
	}
	if diff := cmp.Diff(want, row); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	if _, err := parking.Get(t.Context(), 999); !errors.Is(err, ErrNotParked) {
		t.Errorf("Get of no row = %v", err)
	}
}

func TestAPersonRetriesADeadEvent(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": 3}, err: nil}
	in, l, c := poisoned(t, p, every, func(c *Config) { c.Attempts = 2 })
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), bus.Event{Key: "k", Data: []byte("x"), Err: errTest})
	l.all(in)
	retry(t, in, c, p.over)
	parking := openParking(t, in)
	dead, behind, none := parking.the(t, Filter{Key: "a", State: "dead"}), parking.the(t, Filter{State: "behind"}), parking.the(t, Filter{Key: "k"})
	n, err := parking.Retry(t.Context(), none.ID, behind.ID, 999, dead.ID)
	if n != 1 || !errors.Is(err, ErrNoEvent) || !errors.Is(err, ErrBehind) || !errors.Is(err, ErrNotParked) {
		t.Fatalf("Retry = %d, %v; want one, and why not the others", n, err)
	}
	c.now = time.Now().Add(time.Second)
	step(t, in, p.over)
	wantParked(t, in, "dead k:0 test error", "parked a:1 1 retried test error", "behind a:2") // its attempts begin anew
	retry(t, in, c, p.over)
	wantApplied(t, in, "a:1 ", "a:2 ")
}

func TestAPersonRetriesWhatHadNoRoute(t *testing.T) {
	for _, gaps := range []Gaps{Newest, Every} {
		p := &plan{}
		change := func(c *Config) { c.Gaps, c.Unknown = gaps, Park }
		c, cfg := newClock(), config(t, newDB(t))
		c.config(&cfg)
		change(&cfg)
		in, l := mustNew(t, cfg, p.routes()[0]), newTape(t, 1)
		l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), created(t, "b", 1, ""), updated(t, "b", 2, ""), created(t, "b", 3, ""))
		l.all(in)
		wantApplied(t, in, "a:1 ", "b:1 ", "b:3 ")
		in = mustNew(t, cfg, p.routes()...)
		parking := openParking(t, in)
		rows, _ := parking.list(t, Filter{State: "unknown"})
		mustRetryParked(t, parking, rows[0].ID, rows[1].ID)
		c.now = time.Now().Add(time.Second)
		retry(t, in, c)
		want := []string{"a:1 ", "b:1 ", "b:3 ", "a:2 "}
		if gaps == Every { // better late than never; a projection's would be older than what is there
			want = append(want, "b:2 ")
		}
		wantApplied(t, in, want...)
		wantParked(t, in)
	}
}

func TestADiscardedVersionOfAHistoryIsAHole(t *testing.T) {
	p := &plan{left: map[string]int{"a:2": -1, "b:1": -1}, err: bus.Permanent(errTest)}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), updated(t, "a", 3, ""), updated(t, "a", 4, ""), created(t, "b", 1, ""))
	l.all(in)
	parking := openParking(t, in)
	if err := parking.Discard(t.Context(), parking.the(t, Filter{Key: "a", State: "dead"}).ID, ""); err == nil {
		t.Error("it was discarded without a why")
	}
	if err := parking.Discard(t.Context(), parking.the(t, Filter{Key: "a", State: "dead"}).ID, "a test, \xff"); err != nil {
		t.Fatal(err)
	}
	if err := parking.Discard(t.Context(), 999, "x"); !errors.Is(err, ErrNotParked) {
		t.Errorf("Discard of no row = %v", err)
	}
	c.now = time.Now().Add(time.Second)
	retry(t, in, c)
	wantApplied(t, in, "a:1 ", "a:3 ", "a:4 ")
	holes, err := in.Holes(t.Context(), source, "a")
	if err != nil || !cmp.Equal(holes, []Hole{{2, 2}}) {
		t.Errorf("the holes are %v, %v", holes, err)
	}
	if e := notApplied(t, in, "a", 2); e.State != Behind || e.Have != 4 {
		t.Errorf("Await says %v", e)
	}
	all, err := parking.Discarded(t.Context(), Filter{Group: "test"})
	if err != nil || len(all) != 1 {
		t.Fatalf("discarded are %v, %v", all, err)
	}
	d := all[0]
	if d.Key != "a" || d.Version != 2 || d.Why != "a test, \uFFFD" || d.Error != "test error" || time.Since(d.Discarded) > time.Hour || d.Raw != nil {
		t.Errorf("discarded is %+v", d)
	}
	one, err := parking.GetDiscarded(t.Context(), d.ID)
	if e, wrong := bus.ParseEnvelope(one.Raw); err != nil || wrong != nil || e.Version != 2 {
		t.Errorf("the bytes hold %+v, %v, %v", e, err, wrong)
	}
	if _, err := parking.GetDiscarded(t.Context(), 999); !errors.Is(err, ErrNotParked) {
		t.Errorf("GetDiscarded of no row = %v", err)
	}
	// An id is never given again.
	l.put(0, updated(t, "b", 2, ""))
	l.all(in)
	if row := parking.the(t, Filter{State: "behind"}); row.ID <= d.ID {
		t.Errorf("the id %d is given after %d", row.ID, d.ID)
	}
}

func TestADiscardedEventOfAProjectionIsGone(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": -1}}
	in, l, c := poisoned(t, p)
	l.put(0, created(t, "a", 1, ""), bus.Event{Key: "k", Data: []byte("x"), Err: errTest})
	l.all(in)
	parking := openParking(t, in)
	rows, _ := parking.list(t, Filter{})
	for _, r := range rows {
		if err := parking.Discard(t.Context(), r.ID, "test"); err != nil {
			t.Fatal(err)
		}
	}
	retry(t, in, c)
	wantParked(t, in)
	l.put(0, updated(t, "a", 2, ""))
	l.all(in)
	wantApplied(t, in, "a:2 ")
	wantStatus(t, in, Status{Keys: 1, Versions: 2})
}

func TestADeadReactionGoesBackToItsPlace(t *testing.T) {
	fail := true
	m := &mailer{}
	m.do = func(_ context.Context, e bus.Event) error {
		if fail && e.Version <= 2 {
			return bus.Permanent(errTest)
		}
		return nil
	}
	in, l, p, c := newMailer(t, m, func(cfg *Config) { cfg.Workers = 1 })
	for v := uint64(1); v <= 5; v++ {
		l.put(0, created(t, "a", v, ""))
	}
	l.play(in, cut{0, 0, 5})
	for range 3 { // two die, the third is sent
		p.step(t)
	}
	parking := openParking(t, in)
	rows, _ := parking.list(t, Filter{State: "dead"})
	if len(rows) != 2 || !rows[0].Reaction {
		t.Fatalf("dead are %+v", rows)
	}
	fail = false
	mustRetryParked(t, parking, rows[1].ID, rows[0].ID) // whatever the order of the asking
	c.now = time.Now().Add(time.Second)
	for range 4 {
		p.step(t)
	}
	want := []string{"a:1", "a:2", "a:3", "a:1", "a:2", "a:4", "a:5"}
	if diff := cmp.Diff(want, m.sent()); diff != "" {
		t.Errorf("performed (-want +got):\n%s", diff)
	}
	wantStatus(t, in, Status{Keys: 1, Versions: 5})
}

// Two reactions of one key are never performed at once: the one that comes back waits for the one that is being sent.
func TestADeadReactionWaitsForTheOneThatIsBeingSent(t *testing.T) {
	m := &mailer{do: func(context.Context, bus.Event) error { return bus.Permanent(errTest) }}
	in, l, p, c := newMailer(t, m)
	l.put(0, created(t, "a", 1, ""), created(t, "a", 2, ""))
	l.play(in, cut{0, 0, 2})
	p.step(t)
	c.now = time.Now()
	if claims, _, err := p.claim(t.Context(), nil); err != nil || len(claims) != 1 {
		t.Fatalf("claimed %v, %v", claims, err)
	}
	parking := openParking(t, in)
	mustRetryParked(t, parking, parking.the(t, Filter{}).ID)
	c.pass(in.cfg.Timeout)
	if claims, _, err := p.claim(t.Context(), nil); err != nil || len(claims) != 0 {
		t.Fatalf("claimed %v, %v while another of the key is being sent", claims, err)
	}
	c.pass(2*in.cfg.Timeout + time.Second)
	if claims, _, err := p.claim(t.Context(), nil); err != nil || len(claims) != 1 || claims[0].ev.Version != 1 {
		t.Fatalf("claimed %v, %v; want the first", claims, err)
	}
}

func TestARunningInboxFindsWhatAPersonHasChanged(t *testing.T) {
	p := &plan{left: map[string]int{"a:1": -1}, err: bus.Permanent(errTest)}
	cfg := config(t, newDB(t))
	every(&cfg)
	in := mustNew(t, cfg, p.routes()...)
	r := newRecorder(t)
	run(t, in, r)
	publish(t, r, created(t, "a", 1, ""), updated(t, "a", 2, ""))
	parking := openParking(t, in)
	eventually(t, func() string {
		if s := status(t, in); s.Behind != 1 {
			return fmt.Sprintf("status is %+v", s)
		}
		return ""
	})
	if err := parking.Discard(t.Context(), parking.the(t, Filter{State: "dead"}).ID, "test"); err != nil {
		t.Fatal(err)
	}
	await(t, in, "a", 2)
}

func TestOpenParkingNeedsTheTables(t *testing.T) {
	db := newDB(t)
	if _, err := OpenParking(t.Context(), db); err == nil || !strings.Contains(err.Error(), "no tables") {
		t.Errorf("OpenParking without tables = %v", err)
	}
	mustNew(t, config(t, db), recordAll()...)
	mustExec(t, db, `INSERT INTO tidings_inbox_version (version_id, is_applied) VALUES (99, $1)`, true)
	if _, err := OpenParking(t.Context(), db); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("OpenParking of another release's tables = %v", err)
	}
}

// older are the migrations of the release before parked events were tried again.
func older(t testing.TB, dialect sqldb.Dialect) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(migrations, dialect.Folder(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_parked.sql") {
			return err
		}
		data, err := migrations.ReadFile(path)
		files[filepath.Base(path)] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestADatabaseOfTheReleaseBeforeIsUpgraded(t *testing.T) {
	db := newDB(t)
	dialect := sqldb.SQLite
	if pgtest.On(t) {
		dialect = sqldb.Postgres
	}
	if err := sqldb.Migrate(t.Context(), db, dialect, older(t, dialect), versionTable); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenParking(t.Context(), db); err == nil || !strings.Contains(err.Error(), "use the release") {
		t.Errorf("OpenParking of an older database = %v", err)
	}
	mustExec(t, db, `INSERT INTO tidings_inbox_source (grp, source) VALUES ('other', $1), ('test', $2)`, source, source)
	mustExec(t, db, `INSERT INTO tidings_inbox_mark (source, key, version) VALUES (2, 'a', 3), (2, 'b', 2), (2, 'c', 1), (2, 'd', 1)`)
	for i, r := range []struct {
		e        bus.Event
		state    string
		reaction int
	}{
		{updated(t, "a", 2, ""), "dead", 0}, // 3 was applied after it
		{updated(t, "b", 2, ""), "dead", 0},
		{created(t, "c", 1, ""), "unknown", 0},
		{created(t, "d", 1, ""), "dead", 1},
		{bus.Event{Key: "k", Data: []byte("x"), Err: errTest}, "dead", 0},
	} {
		raw := r.e.Data
		if r.e.Err == nil {
			raw = r.e.AppendEnvelope(nil)
		}
		mustExec(t, db, `INSERT INTO tidings_inbox_parked
			(grp, state, source, key, version, have, type, event_id, reaction, attempts, error, time, topic, log, part, off, raw)
			VALUES ('test', $1, $2, $3, $4, 0, $5, $6, $7, 1, 'old error', 1000, $8, 'l', 0, $9, $10)`,
			r.state, r.e.Source, r.e.Key, int64(r.e.Version), r.e.Type, r.e.ID, r.reaction, topic, i, raw)
	}
	c, cfg := newClock(), config(t, db)
	every(&cfg)
	c.config(&cfg)
	m := &mailer{}
	in := mustNew(t, cfg, append(recordAll(), After(m.perform))...)
	wantParked(t, in, "dead a:2 1 old error", "dead b:2 1 old error", "unknown c:1 1 old error", "dead d:1 1 old error", "dead k:0 1 old error")
	put := func(events ...bus.Event) {
		for i := range events {
			events[i].At = bus.Position{Topic: topic, Offset: -1}
		}
		if err := in.handle(t.Context(), bus.Delivery{Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	put(updated(t, "a", 4, ""), updated(t, "b", 3, "")) // a went on already; b has not
	wantApplied(t, in, "a:4 ")
	parking := openParking(t, in)
	rows, _ := parking.list(t, Filter{})
	mustRetryParked(t, parking, rows[0].ID, rows[1].ID, rows[2].ID, rows[3].ID)
	if _, err := parking.Retry(t.Context(), rows[4].ID); !errors.Is(err, ErrNoEvent) {
		t.Errorf("Retry of bytes that are no event = %v", err)
	}
	c.now = time.Now().Add(time.Second)
	retry(t, in, c)
	p := &performer{Inbox: in, owner: "x"}
	p.step(t)
	p.step(t)
	got := map[string]bool{}
	for _, a := range applications(t, db) {
		got[a] = true
	}
	if want := map[string]bool{"a:4 ": true, "a:2 ": true, "b:2 ": true, "b:3 ": true, "c:1 ": true}; !cmp.Equal(got, want) {
		t.Errorf("applied %v", got)
	}
	if sent := m.sent(); len(sent) != 2 {
		t.Errorf("performed %v, want what was dead, and c", sent)
	}
}
