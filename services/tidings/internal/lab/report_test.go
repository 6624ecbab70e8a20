package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asItShouldBe is a report of 1,000 users, changed for the test.
func asItShouldBe(change func(kafka, redis *Outcome)) Report {
	took := 0.3519
	r := Report{Users: 1000, Buses: []Outcome{
		{
			Bus: "kafka", Embedded: true, URL: "kafka://127.0.0.1:40001", Guarantees: "durable, replayable", KeepsLog: true,
			Written: 2000, WhileDown: 1000, CaughtUp: &took, NewcomerReceived: 2000,
		},
		{
			Bus: "redis", URL: "redis://xxxxx@cache:6379/0", Guarantees: "ordered by key",
			Written: 2000, WhileDown: 1000, Missed: 1000, Counted: 1000,
		},
	}}
	change(&r.Buses[0], &r.Buses[1])
	return r
}

func TestTheTable(t *testing.T) {
	var b bytes.Buffer
	if err := asItShouldBe(func(_, _ *Outcome) {}).Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `
                                     Kafka   Redis PubSub
written while directory was down     1,000          1,000
missed by directory                      0          1,000
… counted by directory itself            0          1,000
caught up after restart              0.4 s          never
a brand-new service received         2,000              0

Kafka: a server inside this process at kafka://127.0.0.1:40001, for first runs and tests (durable, replayable)
Redis PubSub: the server at redis://xxxxx@cache:6379/0 (ordered by key)
Kafka lost nothing: who was away, or new, read it later. Redis PubSub lost 1,000 of 2,000 for ever, and directory knew exactly how many.
`
	if diff := cmp.Diff(want, "\n"+b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheJSON(t *testing.T) {
	b, err := json.MarshalIndent(asItShouldBe(func(_, _ *Outcome) {}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "users": 1000,
  "buses": [
    {
      "bus": "kafka",
      "embedded": true,
      "url": "kafka://127.0.0.1:40001",
      "guarantees": "durable, replayable",
      "keeps_log": true,
      "written": 2000,
      "written_while_down": 1000,
      "missed": 0,
      "counted": 0,
      "caught_up_seconds": 0.3519,
      "newcomer_received": 2000
    },
    {
      "bus": "redis",
      "embedded": false,
      "url": "redis://xxxxx@cache:6379/0",
      "guarantees": "ordered by key",
      "keeps_log": false,
      "written": 2000,
      "written_while_down": 1000,
      "missed": 1000,
      "counted": 1000,
      "caught_up_seconds": null,
      "newcomer_received": 0
    }
  ],
  "conclusion": "Kafka lost nothing: who was away, or new, read it later. Redis PubSub lost 1,000 of 2,000 for ever, and directory knew exactly how many.",
  "faults": []
}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		change func(kafka, redis *Outcome)
		want   string
	}{
		"as it should be":                {func(_, _ *Outcome) {}, ""},
		"kafka missed":                   {func(k, _ *Outcome) { k.Missed = 1 }, "Kafka: directory missed 1 of 2,000 users, and was to miss none"},
		"kafka never caught up":          {func(k, _ *Outcome) { k.CaughtUp = nil }, "Kafka: directory did not catch up after its restart"},
		"a newcomer on kafka":            {func(k, _ *Outcome) { k.NewcomerReceived = 1999 }, "Kafka: a brand-new service received 1,999 of 2,000 users, and was to receive all"},
		"redis counts too few":           {func(_, r *Outcome) { r.Counted = 999 }, "Redis PubSub: directory missed 1,000 users, and counted 999"},
		"redis counts too many":          {func(_, r *Outcome) { r.Counted = 1001 }, "Redis PubSub: directory missed 1,000 users, and counted 1,001"},
		"redis missed what it counted":   {func(_, r *Outcome) { r.Missed, r.Counted = 1200, 1200 }, ""},
		"redis missed nothing, for once": {func(_, r *Outcome) { r.Missed, r.Counted = 0, 0 }, ""},
		"two": {
			func(k, r *Outcome) { k.Missed, r.Counted = 2, 0 },
			"Kafka: directory missed 2 of 2,000 users, and was to miss none; Redis PubSub: directory missed 1,000 users, and counted 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := asItShouldBe(c.change)
			if got := strings.Join(r.Faults(), "; "); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			conclusion := r.Conclusion()
			if strings.Contains(conclusion, "\n") || strings.Contains(conclusion, "not as it should be: "+c.want) != (c.want != "") {
				t.Errorf("the conclusion is %q", conclusion)
			}
		})
	}
}

func TestWithoutALossTheConclusionClaimsNone(t *testing.T) {
	got := asItShouldBe(func(_, r *Outcome) { r.Missed, r.Counted = 0, 0 }).Conclusion()
	if want := "Redis PubSub happened to lose nothing to directory; a new service has 0 of 2,000."; !strings.HasSuffix(got, want) {
		t.Errorf("got %q", got)
	}
}

// full is a disk that takes nothing any more.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestATableThatCannotBeWrittenIsAnError(t *testing.T) {
	if err := asItShouldBe(func(_, _ *Outcome) {}).Write(full{}); err == nil {
		t.Error("no error")
	}
}
