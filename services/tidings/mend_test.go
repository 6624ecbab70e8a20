package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
)

func TestPlacesAreReadAsTheyAreTyped(t *testing.T) {
	for _, tt := range []struct {
		text string
		want bus.Position
	}{
		{"3:812", bus.Position{Partition: 3, Offset: 812}},
		{"user_activity/0:0", bus.Position{Topic: "user_activity"}},
		{"t/2:start", bus.Position{Topic: "t", Partition: 2, Offset: inbox.FromStart}},
	} {
		got, err := places([]string{tt.text})
		if diff := cmp.Diff([]bus.Position{tt.want}, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.text, err, diff)
		}
	}
	if to, err := places([]string{"start"}); err != nil || to != nil {
		t.Errorf("start is %v, %v", to, err)
	}
	for _, text := range []string{"", "3", "3:", ":1", "x:1", "3:x", "-1:0", "0:-1", "0:-2", "a/b/0:1", "99999999999:1"} {
		if to, err := places([]string{text}); err == nil {
			t.Errorf("%q is %v", text, to)
		}
	}
	if _, err := places([]string{"0:1", "start"}); err == nil {
		t.Error("start and a place are taken together")
	}
}

func TestMomentsAreReadAsTheyAreTyped(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "2026-11-22T09:30:00+01:00": now.Add(-23*time.Hour - 30*time.Minute),
	} {
		if got, err := momentOf(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-2h", "0s", "2026-11-23T08:00:01Z", "2026-11-23"} {
		if got, err := momentOf(text, now); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// What is typed wrong is told before any database is opened, and none is made.
func TestMendingSaysWhatIsTypedWrong(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"rewind"}, 2, "<service>"},
		{[]string{"rewind", "nobody"}, 2, "there is no service \"nobody\" that reads events; pass directory, audit or mailer"},
		{[]string{"rewind", "users"}, 2, "users owns what it tells of"},
		{[]string{"rewind", "users", "--db=x.db"}, 2, "users owns what it tells of"},
		{[]string{"rewind", "audit", "--to=7"}, 2, "--to 7: pass start, or a place such as 3:812"},
		{[]string{"rewind", "audit", "--to=0:1", "--since=1h"}, 2, "not both"},
		{[]string{"rewind", "audit", "--since=soon"}, 2, "--since soon"},
		{[]string{"rewind", "audit"}, 1, "there is no " + filepath.Join(".tidings", "kafka", "audit.db") + "; pass the database that the service was started with: --db"},
		{[]string{"rewind", "audit", "--bus=kafka://h:9092"}, 1, filepath.Join(".tidings", "kafka-h-9092", "audit.db")},
		{[]string{"rewind", "loyalty", "--db=x.db"}, 1, "there is no x.db"},
		{[]string{"rebuild", "directory", "--data=d", "--bus=redis"}, 1, filepath.Join("d", "redis", "directory.db")},
		{[]string{"rebuild", "loyalty", "--db=x.db"}, 2, "no service \"loyalty\""},
		{[]string{"rebuild", "audit"}, 2, "audit keeps a history"},
	} {
		code, out, faults := ran(tt.args...)
		if code != tt.code || !strings.Contains(faults, tt.want) || out != "" {
			t.Errorf("tidings %v: exit %d, %q, %q; want %d and %q", tt.args, code, out, faults, tt.code, tt.want)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files were made: %v, %v", files, err)
	}
}

// A partition that is read on from before that time stays where it is, for to leave events out is not what was asked for.
func TestATimeIsAPlaceInEachLog(t *testing.T) {
	rec := bustest.NewRecorder(bustest.WithPartitions(2))
	defer rec.Close(context.Background())
	e := func(key string) bus.Event { return bus.Event{ID: key, Source: "/s", Type: "t", Key: key} }
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		if err := rec.Publish(t.Context(), "topic", e(key)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := positionsAt(t.Context(), rec, time.Now().Add(-time.Hour), []string{"topic"})
	if err != nil || len(found) != 2 || found[0].Offset != 0 || found[1].Offset != 0 {
		t.Fatalf("an hour ago is %+v, %v", found, err)
	}
	found, err = positionsAt(t.Context(), rec, time.Now().Add(time.Hour), []string{"topic"})
	if err != nil || found[0].Offset+found[1].Offset != 6 {
		t.Fatalf("what comes later is at %+v, %v", found, err)
	}
	at := func(p int32, offset int64) bus.Position {
		return bus.Position{Topic: "topic", Partition: p, Offset: offset}
	}
	got := earlier([]bus.Position{at(0, 5), at(1, 5), at(3, 5)}, []bus.Position{at(0, 9), at(1, 4), at(2, 9), at(3, inbox.FromStart)})
	if diff := cmp.Diff([]bus.Position{at(0, 5)}, got); diff != "" {
		t.Error(diff)
	}
	rec.SetDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if found, err := positionsAt(ctx, rec, time.Now(), []string{"topic"}); err == nil {
		t.Errorf("a bus that is down says %+v", found)
	}
}
