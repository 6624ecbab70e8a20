package control_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// unlogged is a platform on a bus that keeps no log: the owner has given number 5 to the last of its events, and its one
// reader has heard of it and missed nothing.
func unlogged(change func(owner, reader *lifecycle.Status)) control.Report {
	stream := func(first uint64) []lifecycle.Stream {
		return []lifecycle.Stream{{Topic: "t", Source: "/users", Log: "l", First: first, Seq: 5}}
	}
	r := control.Report{Quiet: true, Services: []lifecycle.Status{
		{Service: "users", State: lifecycle.Serving, Bus: true, Count: 3, Keys: 3, Versions: 5, Seq: 5, Streams: stream(0), Outbox: &lifecycle.Outbox{}},
		{Service: "directory", State: lifecycle.Serving, Bus: true, Count: 3, Keys: 3, Versions: 5, Seq: 5, Streams: stream(1), Lag: lifecycle.UnknownLag},
	}}
	change(&r.Services[0], &r.Services[1])
	if d := &r.Services[1]; len(d.Streams) == 1 {
		d.Streams[0].Missed = d.Missed
	}
	return r
}

func TestWithoutALogServicesAreComparedByNumbers(t *testing.T) {
	type status = lifecycle.Status
	const lacks = "directory has 2 keys and 3 versions, users 3 and 5"
	lack := func(d *status) { d.Keys, d.Versions = 2, 3 }
	for name, c := range map[string]struct {
		change func(owner, reader *status)
		want   string
	}{
		"equal":       {func(_, _ *status) {}, ""},
		"missed":      {func(_, d *status) { lack(d); d.Missed = 2 }, lacks + ": it missed 2 events, and this bus has kept nothing"},
		"missed more": {func(_, d *status) { lack(d); d.Missed = 1200 }, lacks + ": it missed 1,200 events, and this bus has kept nothing"},
		"missed less": {func(_, d *status) { lack(d); d.Missed = 1 }, lacks + ", which is not explained by what it knows: it missed 1 event"},
		"missed none": {func(_, d *status) { lack(d) }, lacks + ", and it knows of no event that it missed"},
		"new":         {func(_, d *status) { lack(d); d.Streams[0].First = 3 }, lacks + ": before it first heard a number, 2 events had been sent, and this bus has kept nothing"},
		"new, missed": {func(_, d *status) { lack(d); d.Streams[0].First, d.Missed = 2, 1 }, lacks + ": it missed 1 event, and 1 more were sent before it first heard a number, and this bus has kept nothing"},
		"more":        {func(_, d *status) { d.Versions, d.Missed = 6, 2 }, "directory has 3 keys and 6 versions, users 3 and 5, which is not explained by what it knows: it missed 2 events"},
		"made good":   {func(_, d *status) { d.Missed = 2 }, ""},
		"on its way":  {func(_, d *status) { lack(d); d.Streams[0].Seq = 4 }, ""},
		"another owner": {func(_, d *status) { hearAnother(d); d.Keys, d.Versions = 90, 90 },
			"directory has 90 keys and 90 versions, users 3 and 5: it heard another owner, or users before its database was made anew; give each owner a --topic of its own"},
		"another owner, missed": {func(_, d *status) { lack(d); d.Streams[0].Missed = 2; hearAnother(d) }, lacks + ": it missed 2 events, and this bus has kept nothing"},
		"another log":           {func(_, d *status) { lack(d); d.Streams[0].Log = "older" }, ""},
		"heard of no":           {func(_, d *status) { lack(d); d.Streams = nil }, ""},
		"not numbered":          {func(u, d *status) { lack(d); u.Streams, d.Streams = nil, nil }, ""},
		"waiting":               {func(_, d *status) { lack(d); d.Waiting = 1 }, ""},
		"unsent":                {func(u, d *status) { lack(d); u.Outbox.Unsent = 1 }, ""},
		"stopped":               {func(_, d *status) { lack(d); d.State = lifecycle.Stopped }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := unlogged(c.change)
			if got := strings.Join(r.Disagreements(), "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			b, err := json.Marshal(r)
			var back control.Report
			if err != nil || json.Unmarshal(b, &back) != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if diff := cmp.Diff(r, back); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUpToDate(t *testing.T) {
	r := unlogged(func(_, d *lifecycle.Status) { d.Missed = 2 })
	if owner, reader := r.Services[0], r.Services[1]; !r.UpToDate(reader) || !r.UpToDate(owner) {
		t.Error("who has heard of the last number is up to date, whatever was missed")
	}
	r = unlogged(func(u, _ *lifecycle.Status) { u.State = lifecycle.Stopped })
	if r.UpToDate(r.Services[1]) {
		t.Error("without the owner nobody knows")
	}
	r = reported(func(_ *control.Report, _, d *lifecycle.Status) { d.Lag = 3 })
	if r.UpToDate(r.Services[1]) || !r.UpToDate(r.Services[0]) {
		t.Error("on a log the lag decides")
	}
}

func TestTheTableWithoutALogShowsNumbersAndWhatWasMissed(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	r := unlogged(func(u, d *lifecycle.Status) {
		u.Outbox.Unheard = 1000
		d.Keys, d.Versions, d.Missed, d.Missing = 2, 3, 2, 1
		d.Gap = &lifecycle.Gap{Time: at, Source: "/users", Missed: 2, Reason: "numbers 2 to 3 were not received"}
	})
	r.Services = append(r.Services,
		lifecycle.Status{Service: "stranger", State: lifecycle.Serving, Bus: true, Lag: -1},
		lifecycle.Status{Service: "audit", State: lifecycle.Serving, Lag: -1, Missing: 9, BusError: "redis at h:1: WRONGPASS no",
			Uncounted: &lifecycle.Gap{Time: at, Reason: "the connection was lost"}},
		lifecycle.Status{Service: "mailer", State: lifecycle.Stopped, Lag: -1})
	want := `
    service            state  count  keys  versions  number  missed
      users          serving      3     3         5       5       -
  directory          serving      3     2         3       5       2
   stranger          serving      0     0         0       ?       0
      audit  serving, no bus      0     0         0       ?       0
     mailer          stopped      -     -         -       -       -
users: 1,000 events sent while nobody at all was listening
directory: of what it missed, 1 version is seen as a gap below a later version of the same user
directory: last loss noticed at 2026-01-02 03:04:05: missed 2 events: numbers 2 to 3 were not received
stranger: 5 events not heard of yet: users repeats its last number every few seconds, and what it misses is counted from the first that it hears
audit: of what it missed, 9 versions are on record as holes
audit: no bus: redis at h:1: WRONGPASS no
audit: last loss noticed at 2026-01-02 03:04:05: events may have been missed: the connection was lost
directory has 2 keys and 3 versions, users 3 and 5: it missed 2 events, and this bus has kept nothing
`
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out.String()); diff != "" {
		t.Error(diff)
	}
}

// hearAnother lets s have heard a second owner on the topic, after the first: the numbering with the newest row is not
// the owner's then.
func hearAnother(s *lifecycle.Status) {
	s.Streams = append(s.Streams, lifecycle.Stream{Topic: "t", Source: "/users", Log: "other", First: 1, Seq: 25907, Missed: 7})
	s.Seq, s.Missed = 25907, 7
}

func TestNumbersAreThoseOfTheOwner(t *testing.T) {
	r := unlogged(func(_, d *lifecycle.Status) { d.Streams[0].Missed = 2; hearAnother(d) })
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  directory  serving      3     3         5       5       2\n",
		"directory: on topic t it also heard number 25,907, and missed 7, of another owner, or of users before its database was made anew\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %s in\n%s", line, &out)
		}
	}
	r.Services[0].State, r.Services[0].Streams = lifecycle.Stopped, nil
	if heard, ok := control.Heard(r.Services[0], r.Services[1]); !ok || heard.Seq != 25907 || heard.Missed != 7 {
		t.Errorf("without the owner: %+v, %v", heard, ok)
	}
}

// A lost connection is no loss by itself: whoever has heard the owner's last number afterwards has counted what was.
func TestAnUncountedLossIsShownUntilTheOwnersNumberWasHeard(t *testing.T) {
	for _, seq := range []uint64{4, 5} {
		r := unlogged(func(_, d *lifecycle.Status) {
			d.Streams[0].Seq = seq
			d.Gap = &lifecycle.Gap{Time: time.Now(), Source: "/users", Missed: 3, Reason: "numbers 1 to 3 were not received"}
			d.Uncounted = &lifecycle.Gap{Time: time.Now(), Reason: "the connection was lost"}
		})
		var out strings.Builder
		if err := r.Write(&out); err != nil || !strings.Contains(out.String(), ": missed 3 events: numbers 1 to 3") {
			t.Errorf("number %d: the counted loss is not shown (%v):\n%s", seq, err, &out)
		}
		if shown := strings.Contains(out.String(), "may have been missed"); shown != (seq < 5) {
			t.Errorf("number %d: the uncounted loss is shown: %v\n%s", seq, shown, &out)
		}
		if today := time.Now().Format(time.DateOnly); strings.Contains(out.String(), "noticed at "+today) && today == r.Services[1].Gap.Time.Format(time.DateOnly) {
			t.Errorf("today's date is shown:\n%s", &out)
		}
	}
}

func TestAnOwnerWithoutItsBusIsShownSo(t *testing.T) {
	r := unlogged(func(u, _ *lifecycle.Status) { u.Bus, u.BusError = false, "redis at h:1: NOPERM" })
	var out strings.Builder
	if err := r.Write(&out); err != nil || !strings.Contains(out.String(), "users  serving, no bus") || !strings.Contains(out.String(), "users: no bus: redis at h:1: NOPERM\n") {
		t.Errorf("%v:\n%s", err, &out)
	}
}
