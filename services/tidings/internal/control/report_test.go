package control_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// reported is a platform whose owner has 3 users in 5 versions, and whose one reader has done the same.
func reported(change func(r *control.Report, owner, reader *lifecycle.Status)) control.Report {
	r := control.Report{Quiet: true, Bus: control.Bus{KeepsLog: true}, Services: []lifecycle.Status{
		{Service: "users", State: lifecycle.Serving, Bus: true, Count: 3, Keys: 3, Versions: 5, Outbox: &lifecycle.Outbox{}},
		{Service: "directory", State: lifecycle.Serving, Bus: true, Count: 3, Keys: 3, Versions: 5},
	}}
	change(&r, &r.Services[0], &r.Services[1])
	return r
}

func TestDisagreements(t *testing.T) {
	type status = lifecycle.Status
	for name, c := range map[string]struct {
		change func(r *control.Report, owner, reader *status)
		want   string
	}{
		"equal":                          {func(*control.Report, *status, *status) {}, ""},
		"keys":                           {func(_ *control.Report, _, d *status) { d.Keys = 2 }, "directory has 2 keys and 5 versions, users 3 and 5"},
		"versions":                       {func(_ *control.Report, _, d *status) { d.Versions = 6 }, "directory has 3 keys and 6 versions, users 3 and 5"},
		"counts are of different things": {func(_ *control.Report, _, d *status) { d.Count = 99 }, ""},
		"stopped":                        {func(_ *control.Report, _, d *status) { d.Keys, d.State = 2, lifecycle.Stopped }, ""},
		"failed":                         {func(_ *control.Report, _, d *status) { d.Keys, d.State = 2, lifecycle.Failed }, ""},
		"lag unknown":                    {func(_ *control.Report, _, d *status) { d.Keys, d.Lag = 2, lifecycle.UnknownLag }, ""},
		"behind":                         {func(_ *control.Report, _, d *status) { d.Keys, d.Lag = 2, 1 }, ""},
		"some wait for earlier ones":     {func(_ *control.Report, _, d *status) { d.Versions, d.Waiting = 4, 1 }, ""},
		"not quiet":                      {func(r *control.Report, _, d *status) { d.Keys, r.Quiet = 2, false }, ""},
		"unsent":                         {func(_ *control.Report, u, d *status) { d.Keys, u.Outbox.Unsent = 2, 1 }, ""},
		"owner stopped":                  {func(_ *control.Report, u, d *status) { d.Keys, u.State = 2, lifecycle.Stopped }, ""},
		"no owner":                       {func(r *control.Report, _, d *status) { d.Keys = 2; r.Services = r.Services[1:] }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := reported(c.change)
			got := strings.Join(r.Disagreements(), "\n")
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			// The JSON has them too, as a list in any case, and reading it back gives the report.
			b, err := json.Marshal(r)
			var told struct {
				Disagreements []string `json:"disagreements"`
			}
			var back control.Report
			if err != nil || json.Unmarshal(b, &told) != nil || json.Unmarshal(b, &back) != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if told.Disagreements == nil || strings.Join(told.Disagreements, "\n") != got {
				t.Errorf("JSON has %q, want %q", told.Disagreements, got)
			}
			if diff := cmp.Diff(r, back); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheTable(t *testing.T) {
	at := []lifecycle.Position{{Topic: "t", Partition: 0, Next: 1500}, {Topic: "t", Partition: 1, Next: 500}}
	r := control.Report{Quiet: true, Bus: control.Bus{KeepsLog: true}, Services: []lifecycle.Status{
		{Service: "users", State: lifecycle.Serving, Bus: true, Count: 1999, Keys: 2000, Versions: 2345, Outbox: &lifecycle.Outbox{Unsent: 1200}},
		{Service: "directory", State: lifecycle.Failed, Lag: -1, Error: "it is broken", Notes: []string{"mend it"}},
		{Service: "audit", State: lifecycle.Serving, Lag: -1, Count: 1000, Keys: 1000, Versions: 1000, Positions: at, Parked: 1, Dead: 2, Missing: 3, KeepsLog: true},
		{Service: "mailer", State: lifecycle.Serving, Bus: true, Count: 2000, Keys: 2000, Versions: 2345, Lag: 7, Positions: at, Queued: 19700},
		{Service: "stranger", State: lifecycle.Stopped, Lag: -1, Queued: 2},
	}}
	want := `
    service            state  count   keys  versions  position  lag
      users          serving  1,999  2,000     2,345         -    -
  directory           failed      -      -         -         -    -
      audit  serving, no bus  1,000  1,000     1,000     2,000    ?
     mailer          serving  2,000  2,000     2,345     2,000    7
   stranger          stopped      -      -         -         -    -
users: 1,200 events not yet sent
directory: mend it
directory: it is broken
audit: 1 parked
audit: 2 dead
audit: 3 missing
mailer: 19,700 mails to send
stranger: 2 reactions to perform
`
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheTableEndsWithWhatDisagrees(t *testing.T) {
	r := reported(func(_ *control.Report, _, d *lifecycle.Status) { d.Keys = 2 })
	var out strings.Builder
	if err := r.Write(&out); err != nil || !strings.HasSuffix(out.String(), r.Disagreements()[0]+"\n") {
		t.Errorf("%v: %s", err, &out)
	}
}
