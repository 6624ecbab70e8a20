package main

import (
	"cmp"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// noun is what a service counts, in the number that fits.
func noun(s lifecycle.Status) string {
	one, more := "", ""
	switch s.Service {
	case "users":
		one, more = "user", "users"
	case "directory":
		one, more = "person", "people"
	case "audit":
		one, more = "event", "events"
	case "mailer":
		one, more = "message", "messages"
	}
	if s.Count == 1 {
		return one
	}
	return more
}

// line is how a service is, in a few words.
func (v *view) line(s lifecycle.Status) string {
	text := string(s.State)
	if s.State == lifecycle.Serving {
		text += ", " + v.p.Sprintf("%d", s.Count) + " " + noun(s) + v.progress(s)
	}
	if why := cmp.Or(s.Error, s.BusError); why != "" {
		text += ": " + why
	}
	return text
}

// progress is how far a service has come with the events, and at the owner how many of them nobody has or had.
func (v *view) progress(s lifecycle.Status) string {
	text := ""
	switch {
	case s.Service == control.Owner:
		if text = v.sent(s); !s.Bus {
			text = ", no bus" + text
		}
	case !s.Bus && !s.KeepsLog:
		text = ", no bus, " + v.missed(s)
	case !s.Bus:
		text = ", no bus"
	case !s.KeepsLog:
		text = ", " + v.missed(s)
	case s.Lag < 0:
		text = ", lag unknown"
	default:
		text = v.p.Sprintf(", lag %d", s.Lag)
	}
	if queued := control.Queued(v.p, s); queued != "" {
		text += ", " + queued
	}
	return text
}

// missed is what a service has missed since it first heard a number, and since when that is, if not from the start.
func (v *view) missed(s lifecycle.Status) string {
	heard, _ := control.Heard(v.owner, s)
	text := v.p.Sprintf("missed %d", heard.Missed)
	if heard.First > 1 {
		text += v.p.Sprintf(" since it came at number %d", heard.First)
	}
	return text
}

// sent is how the owner stands with its events.
func (v *view) sent(s lifecycle.Status) (text string) {
	if s.Outbox == nil {
		return ""
	}
	if s.Outbox.Unsent > 0 {
		text = v.p.Sprintf(", %d events to send", s.Outbox.Unsent)
	}
	if s.Outbox.Unheard > 0 {
		text += v.p.Sprintf(", %d sent to nobody", s.Outbox.Unheard)
	}
	return text
}
