package announce

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// say announces something at a time.
func say(t *testing.T, b bus.Publisher, events string, a Announcement, at time.Time) {
	t.Helper()
	a.Topic, a.Time, a.Every = events, at, 3600
	e, err := a.event()
	if err == nil {
		err = b.Publish(t.Context(), Topic(events), e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestListHasTheLastWordOfEach(t *testing.T) {
	rec, start := bustest.NewRecorder(), time.Now().UTC().Add(-24*time.Hour) // which is too long ago for an older release
	for i := range 100 {
		a := trio()[1]
		a.Release = []string{"old", "new"}[i/99]
		a.Types = [][]string{{"users.v1.A"}, {"users.v2.A"}}[i/99]
		say(t, rec, "e", a, start.Add(time.Duration(i)*time.Second))
	}
	say(t, rec, "e", trio()[2], start)
	all := list(t, rec, "e", 0)
	if keys(all) != "publishes/users/users reads/mailer/mailer.2" {
		t.Fatal(keys(all))
	}
	got := all[1]
	if got.Release != "new" || !got.Covers("users.v2.A") || got.Covers("users.v1.A") || !got.Time.Equal(start.Add(99*time.Second)) {
		t.Errorf("%+v", got)
	}
	// It named the older type until then, and says so no more.
	if at := got.Formerly["users.v1.A"]; !at.Equal(start.Add(98*time.Second)) || len(got.Formerly) != 1 || all[0].Formerly != nil {
		t.Errorf("formerly %v, and the other %v", got.Formerly, all[0].Formerly)
	}
	// A clock that was set back changes nothing within a log.
	again := trio()[1]
	again.Release = "newest"
	say(t, rec, "e", again, start.Add(-time.Minute))
	if all = list(t, rec, "e", 0); all[1].Release != "newest" {
		t.Errorf("%+v", all[1])
	}
	// Partitions that were added move keys, and then the clock is all there is.
	rec.AddPartitions(Topic("e"), 64)
	again.Release = "moved"
	say(t, rec, "e", again, start.Add(time.Minute))
	if all = list(t, rec, "e", 0); all[1].Release != "moved" {
		t.Errorf("%+v", all[1])
	}
}

func TestListOfATopicThatIsNotThereIsEmptyAndMakesNone(t *testing.T) {
	rec := bustest.NewRecorder()
	if all := list(t, rec, "e", 0); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if parts, err := rec.Partitions(t.Context(), "e_readers"); err != nil || len(parts) > 0 {
		t.Errorf("%+v, %v", parts, err)
	}
}

// Whoever may write to the topic can write anything: none of it is believed, and none of it holds up the rest.
func TestWhatIsNoAnnouncementIsPassedOver(t *testing.T) {
	rec := bustest.NewRecorder()
	rec.PutRaw("e_readers", "reads/audit/audit.1", []byte("not an event at all"))
	put := func(typ, dataType, data string) {
		t.Helper()
		e := bus.Event{ID: data[:1], Source: "/s", Type: typ, Key: "k", DataType: dataType, Data: []byte(data)}
		if err := rec.Publish(t.Context(), "e_readers", e); err != nil {
			t.Fatal(err)
		}
	}
	const good = `{"role":"reads","name":"audit","topic":"e","every_seconds":1}`
	put("users.v1.A", "application/json", good)
	put(bus.TypeAnnouncement, "", good)
	for _, data := range []string{
		`[]`, `null`, `{`, `{"role":"owns","name":"audit","topic":"e","every_seconds":1}`,
		`{"role":"reads","topic":"e","every_seconds":1}`, `{"role":"reads","name":"audit","topic":"other","every_seconds":1}`,
		`{"role":"reads","name":"audit","topic":"e"}`, `{"role":"reads","name":"audit","topic":"e","every_seconds":-1}`,
		`{"role":"reads","name":"audit\u001b[2J","topic":"e","every_seconds":1}`,
		`{"role":"reads","name":"audit","topic":"e","every_seconds":1,"types":["\u009b2J"]}`,
		`{"role":"reads","name":"audit","topic":"e","every_seconds":1,"types":[1]}`,
	} {
		put(bus.TypeAnnouncement, "application/json", data)
	}
	if all := list(t, rec, "e", 0); len(all) != 0 {
		t.Errorf("taken for announcements: %+v", all)
	}
	put(bus.TypeAnnouncement, "application/json", good)
	if all := list(t, rec, "e", 0); keys(all) != "reads/audit/" {
		t.Errorf("%+v", all)
	}
}

func TestWhoHasNotSpokenForLongIsSilentAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := bustest.NewRecorder()
		end := announcing(t, func(ctx context.Context) error { return Run(ctx, rec, "e", trio()[:1], Config{}) })
		time.Sleep(5 * time.Hour)
		if a := list(t, rec, "e", 0)[0]; a.Silent(time.Now()) {
			t.Errorf("silent at %v, with %+v", time.Now(), a)
		}
		end()
		time.Sleep(4 * time.Hour)
		all := list(t, rec, "e", 0)
		if len(all) != 1 || !all[0].Silent(time.Now()) || all[0].Silent(all[0].Time.Add(3*time.Hour)) {
			t.Errorf("%+v", all)
		}
	})
}

func TestListEndsWithItsContext(t *testing.T) {
	rec := bustest.NewRecorder()
	say(t, rec, "e", trio()[0], time.Now())
	rec.SetDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if all, err := List(ctx, rec, "e", 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a bus that is away says %+v, %v", all, err)
	}
}

// While replicas are upgraded, the older release still reads what it has read, whoever spoke last.
func TestEachReleaseOfAGroupIsHeardUntilItIsSilent(t *testing.T) {
	rec, events := bustest.NewRecorder(), newTopic()
	reader := Announcement{Role: Reads, Name: "directory", Group: "directory.1", Types: []string{"v1.A"}, Release: "0.1.0"}
	now := time.Now()
	say(t, rec, events, reader, now.Add(-time.Minute))
	reader.Types, reader.Release = []string{"v1.A", "v2.A"}, "0.2.0"
	say(t, rec, events, reader, now)
	var got []string
	for _, a := range list(t, rec, events, 0) {
		got = append(got, a.Release+" "+strings.Join(a.Types, ","))
	}
	if want := "0.2.0 v1.A,v2.A; 0.1.0 v1.A"; strings.Join(got, "; ") != want {
		t.Errorf("listed are %q, want %q", got, want)
	}
	gone := newTopic()
	reader.Release = "0.1.0"
	say(t, rec, gone, reader, now.Add(-24*time.Hour))
	reader.Release = "0.2.0"
	say(t, rec, gone, reader, now)
	if all := list(t, rec, gone, 0); len(all) != 1 || all[0].Release != "0.2.0" {
		t.Errorf("listed are %+v, want the one that runs", all)
	}
}
