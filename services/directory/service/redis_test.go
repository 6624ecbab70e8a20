package service_test

import (
	"strings"
	"testing"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// What is sent while a projection is down is lost to it, and counted; the next event of a user makes that user right.
func TestOnRedisADirectoryCountsWhatItMissedAndIsRightAgainByTheNextEvent(t *testing.T) {
	cfg := newConfig(t)
	owner := servicetest.NewNumbered(t, servicetest.OnRedis(t, &cfg.Common), cfg.Topic)
	r := start(t, cfg, backends.Open)
	owner.Heard(r.Running)
	ada := servicetest.NewUser("ada@example.org", "Ada")
	owner.Send(append(crowd(t, 50), ada.Created(t))...)
	if s := owner.Heard(r.Running); s.Count != 51 || s.Versions != 51 || s.Missed != 0 || s.KeepsLog || s.Lag != lifecycle.UnknownLag {
		t.Errorf("status %+v; want 51 people and nothing missed", s)
	}
	r.Stop()

	owner.Lose(append(crowd(t, 20), ada.Updated(t, "ada@example.org", "Ada King"))...)
	r = start(t, cfg, backends.Open)
	s := owner.Heard(r.Running)
	if s.Missed != 21 || s.Count != 51 || s.Versions != 51 || s.Missing != 0 || s.Seq != 72 {
		t.Errorf("status %+v; want 21 missed and 51 people", s)
	}
	if s.Gap == nil || s.Gap.Missed != 21 || s.Gap.Source != "/users" || !strings.Contains(s.Gap.Reason, "52 to 72") {
		t.Errorf("the last gap is %+v", s.Gap)
	}
	if m := r.refusal(t, ada.ID, 2); m["have"] != "1" || m["want"] != "2" || m["state"] != "behind" || m["source"] != "/users" {
		t.Errorf("version 2, which was lost: %v; want have 1, want 2, behind", m)
	}

	owner.Send(ada.Updated(t, "ada@example.org", "Ada Lovelace"))
	resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: ada.ID, MinVersion: 2})
	if err != nil || resp.GetPerson().GetName() != "Ada Lovelace" {
		t.Errorf("%v, %v", resp, err)
	}
	if s := owner.Heard(r.Running); s.Missed != 21 || s.Missing != 1 || s.Versions != 53 {
		t.Errorf("status %+v; want 21 missed, one of them a version that was passed over", s)
	}
}

// There is nothing to read again: a new service knows of what happens from then on, and says from which number.
func TestOnRedisANewDirectoryBeginsEmptyAndSaysWhere(t *testing.T) {
	cfg := newConfig(t)
	owner := servicetest.NewNumbered(t, servicetest.OnRedis(t, &cfg.Common), cfg.Topic)
	owner.Send(crowd(t, 10)...)
	r := start(t, cfg, backends.Open)
	if s := owner.Heard(r.Running); s.Count != 0 || s.Missed != 0 || len(s.Streams) != 1 || s.Streams[0].First != 11 {
		t.Errorf("status %+v; want nobody, nothing missed, and number 11 as the first", s)
	}
	owner.Send(crowd(t, 5)...)
	if s := owner.Heard(r.Running); s.Count != 5 || s.Missed != 0 {
		t.Errorf("status %+v; want five people", s)
	}
}

// Replicas of what comes change nothing, however often it comes.
func TestOnRedisEventsThatComeAgainChangeNothing(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnRedis(t, &cfg.Common)
	owner := servicetest.NewNumbered(t, b, cfg.Topic)
	r := start(t, cfg, backends.Open)
	owner.Heard(r.Running)
	events := crowd(t, 20)
	owner.Send(events...)
	servicetest.PublishTo(t, b, cfg.Topic, events...) // numbered as they were
	owner.Send(crowd(t, 1)...)
	if s := owner.Heard(r.Running); s.Count != 21 || s.Versions != 21 || s.Missed != 0 {
		t.Errorf("status %+v", s)
	}
}
