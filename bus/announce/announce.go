package announce

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
)

// Role is what somebody does with events.
type Role string

// The roles.
const (
	Publishes Role = "publishes"
	Reads     Role = "reads"
)

// AnyType stands among the types of who reads events of whatever type. It is the last of them.
const AnyType = "*"

// Announcement is what a service says of itself. It names no host and no address.
type Announcement struct {
	Role Role   `json:"role"`
	Name string `json:"name"` // of the service: "directory"
	// Group is who shares one database: of a reader its consumer group on the wire, "directory.3f2a9c1e". Replicas
	// have the same one, and those of one release speak with one voice.
	Group   string    `json:"group"`
	Topic   string    `json:"topic"`         // of the events; Run fills it in, like all that follows
	Types   []string  `json:"types"`         // full names of messages, in order; AnyType for whatever comes
	Release string    `json:"release"`       // of the program
	Time    time.Time `json:"time"`          // when it was said, by the clock of who said it
	Every   int       `json:"every_seconds"` // after how many seconds it is said again

	// Formerly are the types that were named before and are no more, and when last: what List has found of that on a
	// topic that keeps it. It is not published.
	Formerly map[string]time.Time `json:"-"`
}

// Topic returns the name of the topic for announcements about a topic of events: "user_activity_readers".
func Topic(events string) string { return events + "_readers" }

// silentAfter is how many intervals without a word make somebody silent.
const silentAfter = 3

// Silent reports whether a was not renewed when it should have been: who said it is down, or is no more, or can't reach
// the topic. One interval may be missed, and the next be late.
func (a *Announcement) Silent(now time.Time) bool {
	return now.Sub(a.Time) > silentAfter*time.Duration(a.Every)*time.Second
}

// Covers reports whether a is about events of that type, be it as whatever type.
func (a *Announcement) Covers(typ string) bool {
	return slices.Contains(a.Types, typ) || slices.Contains(a.Types, AnyType)
}

// key is the event's: what comes later of the same key takes its place.
func (a *Announcement) key() string {
	return strings.Join([]string{string(a.Role), a.Name, a.Group}, "/")
}

// source is who publishes announcements, to CloudEvents. They have no versions that it could number.
const source = "/announcements"

// dataType is the media type of an announcement.
const dataType = "application/json"

// event is what a is published as.
func (a *Announcement) event() (bus.Event, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return bus.Event{}, fmt.Errorf("announce: %s: %w", a.key(), err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return bus.Event{}, fmt.Errorf("announce: %s: %w", a.key(), err)
	}
	e := bus.Event{
		ID: id.String(), Source: source, Type: bus.TypeAnnouncement, Key: a.key(), Time: a.Time, DataType: dataType, Data: data,
	}
	if err := e.Validate(); err != nil {
		return bus.Event{}, fmt.Errorf("announce: %s: %w", a.key(), err)
	}
	return e, nil
}

// parse reads an announcement about a topic; ok is false for whatever else was written there. What it returns is fit for
// a terminal.
func parse(e bus.Event, events string) (a Announcement, ok bool) {
	if e.Err != nil || e.Type != bus.TypeAnnouncement || e.DataType != dataType || json.Unmarshal(e.Data, &a) != nil {
		return a, false
	}
	known := a.Role == Publishes || a.Role == Reads
	texts := append([]string{a.Name, a.Group, a.Topic, a.Release}, a.Types...)
	return a, known && a.Name != "" && a.Topic == events && a.Every > 0 && !slices.ContainsFunc(texts, unfit)
}

// unfit reports whether a text could do something to a terminal.
func unfit(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl)
}
