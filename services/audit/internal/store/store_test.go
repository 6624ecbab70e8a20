package store_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/audit/internal/store"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// fixture is a store in a database of its own.
type fixture struct {
	*store.Store
	t  testing.TB
	db *database.DB
}

func open(t testing.TB) *fixture {
	t.Helper()
	db := servicetest.Database(t, "audit", store.Migrations)
	return &fixture{store.New(db), t, db}
}

// add appends events in one transaction.
func (f *fixture) add(events ...store.Event) {
	f.t.Helper()
	tx, err := f.db.BeginTx(f.t.Context(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.Append(f.t.Context(), tx, events); err != nil {
		_ = tx.Rollback()
		f.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		f.t.Fatal(err)
	}
}

// list reads all events of a user by pages, and wants every page but the last to say that there are more.
func (f *fixture) list(userID string, limit, maxBytes int) (all []store.Event) {
	f.t.Helper()
	var after store.Place
	for {
		page, err := f.List(f.t.Context(), userID, after, limit, maxBytes)
		if err != nil {
			f.t.Fatal(err)
		}
		if len(page.Events) > limit || page.More && len(page.Events) == 0 {
			f.t.Fatalf("a page of %d of at most %d events, more: %v", len(page.Events), limit, page.More)
		}
		all = append(all, page.Events...)
		if !page.More {
			return all
		}
		after = page.Events[len(page.Events)-1].Place
	}
}

func (f *fixture) count() int64 {
	f.t.Helper()
	n, err := f.Count(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// at is an event whose parts are told by its version.
func at(userID string, version uint64) store.Event {
	return store.Event{
		UserID: userID, Place: store.Place{Version: version, Source: "/users", EventID: fmt.Sprintf("%s-%d", userID, version)},
		Type: "users.events.v1.UserUpdated", Time: time.Unix(1_700_000_000, int64(version)).UTC(),
		Data: fmt.Appendf(nil, "data %d", version),
	}
}

func TestWhatIsReadIsWhatCame(t *testing.T) {
	f := open(t)
	all := []store.Event{
		at("ada", 1),
		{UserID: "ada", Place: store.Place{Version: 2, Source: "/users", EventID: "json"}, Type: "t", DataType: "application/json", Data: []byte(`{"a":"\u0000"}`)},
		{UserID: "ada", Place: store.Place{Version: 3, Source: "/users", EventID: "ext"}, Type: "t", Data: []byte{0, 0xff},
			Extensions: map[string]string{"traceparent": "00-é\"-01", "empty": ""}},
		{UserID: "ada", Place: store.Place{Version: 4, Source: "/users", EventID: "bare"}, Type: "t", Data: []byte{}},
		{UserID: "ada", Place: store.Place{Version: 5, Source: "/users", EventID: "early"}, Type: "t", Time: time.Unix(0, math.MinInt64).UTC(), Data: []byte{}},
		{UserID: "ada", Place: store.Place{Version: 1 << 48, Source: "/users", EventID: "late"}, Type: "t", Time: time.Unix(0, math.MaxInt64).UTC(), Data: []byte{}},
	}
	f.add(all...)
	if diff := cmp.Diff(all, f.list("ada", 10, math.MaxInt)); diff != "" {
		t.Error(diff)
	}
	noData := at("alan", 1)
	noData.Data, noData.Time = nil, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	f.add(noData)
	got := f.list("alan", 10, math.MaxInt)
	if len(got) != 1 || len(got[0].Data) != 0 || got[0].Time.Year() != 2262 {
		t.Errorf("an event without data, of a year that no column holds, became %+v", got)
	}
}

func TestAnEventIsKeptOnceHoweverOftenItComes(t *testing.T) {
	f := open(t)
	first := at("ada", 1)
	f.add(first, at("ada", 2))
	f.add(first, first, at("ada", 2), at("ada", 3), at("ada", 3))
	if all := f.list("ada", 10, math.MaxInt); len(all) != 3 || f.count() != 3 {
		t.Errorf("%d events are listed and %d counted, want 3", len(all), f.count())
	}
	// Other sources, events without a version, and a version that was given out twice are entries of their own.
	other, unnumbered, again := at("ada", 2), at("ada", 0), at("ada", 2)
	other.Source, unnumbered.EventID, again.EventID = "/billing", "u1", "zzz"
	f.add(other, unnumbered, again)
	f.add(other, unnumbered, again)
	var ids []string
	for _, e := range f.list("ada", 2, math.MaxInt) {
		ids = append(ids, e.Source+" "+e.EventID)
	}
	want := []string{"/users u1", "/users ada-1", "/billing ada-2", "/users ada-2", "/users zzz", "/users ada-3"}
	if diff := cmp.Diff(want, ids); diff != "" || f.count() != 6 {
		t.Errorf("%d counted; %s", f.count(), diff)
	}
}

func TestAHistoryIsInOrderOfVersionsWhateverTheOrderOfComing(t *testing.T) {
	f := open(t)
	var events []store.Event
	for v := uint64(1); v <= 250; v++ {
		events = append(events, at("ada", v), at("alan", v))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for batch := range slices.Chunk(events, 221) { // each is made of chunks of every size
		f.add(batch...)
	}
	for _, limit := range []int{1, 7, 249, 250, 251} {
		all := f.list("ada", limit, math.MaxInt)
		if len(all) != 250 {
			t.Fatalf("by pages of %d: %d events, want 250", limit, len(all))
		}
		for i, e := range all {
			if diff := cmp.Diff(at("ada", uint64(i)+1), e); diff != "" {
				t.Fatalf("by pages of %d: %s", limit, diff)
			}
		}
	}
}

func TestAPageEndsWhereItsBytesAreUsedUp(t *testing.T) {
	f := open(t)
	for v := uint64(1); v <= 5; v++ {
		e := at("ada", v)
		e.Data = bytes.Repeat([]byte{byte(v)}, 1000)
		f.add(e)
	}
	for maxBytes, want := range map[int]int{0: 1, 1: 1, 1000: 1, 1001: 2, 2500: 3, 1_000_000: 5} {
		page, err := f.List(t.Context(), "ada", store.Place{}, 10, maxBytes)
		if err != nil || len(page.Events) != want || page.More != (want < 5) {
			t.Errorf("%d bytes: %d events, more: %v (%v); want %d", maxBytes, len(page.Events), page.More, err, want)
		}
		if all := f.list("ada", 10, maxBytes); len(all) != 5 {
			t.Errorf("by pages of %d bytes: %d events", maxBytes, len(all))
		}
	}
}

func TestCountsOfOneUser(t *testing.T) {
	f := open(t)
	var events []store.Event
	for v := uint64(1); v <= 40; v++ {
		events = append(events, at("ada", v))
	}
	f.add(append(events, at("alan", 7))...)
	for _, tt := range []struct {
		userID string
		limit  int
		want   int64
		about  int64
	}{{"ada", 100, 40, 40}, {"ada", 10, 10, 40}, {"alan", 10, 1, 1}, {"nobody", 10, 0, 0}} {
		n, err := f.CountOf(t.Context(), tt.userID, tt.limit)
		about, aboutErr := f.EstimateOf(t.Context(), tt.userID)
		if err != nil || aboutErr != nil || n != tt.want || about != tt.about {
			t.Errorf("%s up to %d: %d, about %d (%v, %v); want %d, %d", tt.userID, tt.limit, n, about, err, aboutErr, tt.want, tt.about)
		}
	}
}

func TestWhatIsRolledBackIsNeitherKeptNorCounted(t *testing.T) {
	f := open(t)
	tx, err := f.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Append(t.Context(), tx, []store.Event{at("ada", 1), at("ada", 2)}); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if all := f.list("ada", 10, math.MaxInt); len(all) != 0 || f.count() != 0 {
		t.Errorf("%d events are listed and %d counted", len(all), f.count())
	}
	f.add()
	if f.count() != 0 {
		t.Errorf("no events are counted as %d", f.count())
	}
}
