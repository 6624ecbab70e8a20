package service_test

import (
	"testing"

	"github.com/tidings-dev/tidings/bus"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestOnKafkaADirectoryFillsCatchesUpAndAnswersTheWriter(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnKafka(t, &cfg.Common)
	send := func(events ...bus.Event) {
		t.Helper()
		servicetest.PublishTo(t, b, cfg.Topic, events...)
	}
	ada := servicetest.NewUser("ada@example.org", "Ada")
	created := ada.Created(t)
	send(append(crowd(t, 500), created)...)
	r := start(t, cfg, backends.Open)
	r.Until("everybody", func(s lifecycle.Status) bool { return s.Count == 501 && s.Lag == 0 && s.Bus })
	r.Stop()

	send(append(crowd(t, 500), created, ada.Updated(t, "ada@example.org", "Ada Lovelace"))...)
	r = start(t, cfg, backends.Open)
	resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: ada.ID, MinVersion: 2})
	if err != nil || resp.GetPerson().GetName() != "Ada Lovelace" {
		t.Errorf("%v, %v", resp, err)
	}
	s := r.Until("everybody", func(s lifecycle.Status) bool { return s.Count == 1001 && s.Versions == 1002 && s.Lag == 0 })
	if s.Keys != 1001 || s.Missing+s.Dead != 0 {
		t.Errorf("status %+v", s)
	}
}
