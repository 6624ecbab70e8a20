package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// answering is a bus whose Publish answers with err.
type answering struct {
	bus.Bus
	err error
}

func (a *answering) Publish(context.Context, string, ...bus.Event) error { return a.err }

func TestWhatCameOfTheLastPublishingIsRemembered(t *testing.T) {
	refused := errors.New("NOPERM no")
	failed := func(n int) error {
		failed := map[int]error{}
		for i := range n {
			failed[i] = refused
		}
		return &bus.PublishError{Topic: "t", Failed: failed}
	}
	under := &answering{}
	s := &sending{Bus: under}
	if err := s.fault(time.Now()); err != nil {
		t.Errorf("before anything was tried: %v", err)
	}
	for i, step := range []struct {
		err  error
		want string
	}{
		{failed(2), "NOPERM no"},
		{failed(1), ""}, // one got through
		{errors.New("away"), "away"},
		{context.Canceled, "away"}, // says nothing
		{fmt.Errorf("closed: %w", bus.ErrClosed), "away"},
		{nil, ""},
		{failed(2), "NOPERM no"},
	} {
		under.err = step.err
		if err := s.Publish(t.Context(), "t", bus.Event{}, bus.Event{}); !errors.Is(err, step.err) {
			t.Errorf("step %d: Publish hands on %v", i, err)
		}
		got := ""
		if fault := s.fault(time.Now()); fault != nil {
			got = reason(fault)
		}
		if got != step.want {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
	}
	// A relay that no longer leads tries nothing more, and the bus may long be back.
	if err := s.fault(time.Now().Add(stale + time.Second)); err != nil {
		t.Errorf("much later: %v", err)
	}
}
