package main

import (
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// nouns is what each service counts.
var nouns = map[string]string{"users": "users", "directory": "people", "audit": "events", "mailer": "messages"}

// line is how a service is, in a few words.
func (v *view) line(s lifecycle.Status) string {
	text := string(s.State)
	if s.State == lifecycle.Serving {
		text += ", " + v.p.Sprintf("%d", s.Count) + " " + nouns[s.Service] + v.progress(s)
	}
	if s.Error != "" {
		text += ": " + s.Error
	}
	return text
}

// progress is how far a service has come with the events, and at the owner how many of them nobody has or had.
func (v *view) progress(s lifecycle.Status) string {
	text := ""
	switch {
	case s.Service == control.Owner:
		text = v.sent(s)
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

// missed is what a service has missed since it first listened, and since when that is, if not from the start.
func (v *view) missed(s lifecycle.Status) string {
	text := v.p.Sprintf("missed %d", s.Missed)
	if n := len(s.Streams); n > 0 && s.Streams[n-1].First > 1 {
		text += v.p.Sprintf(" since it came at number %d", s.Streams[n-1].First)
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
