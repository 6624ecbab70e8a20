package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// fakePlatform answers every question with the same report.
type fakePlatform struct{ report control.Report }

func (p fakePlatform) Report(context.Context) control.Report { return p.report }
func (fakePlatform) Start(context.Context, string) error     { return nil }
func (fakePlatform) Stop(context.Context, string) error      { return control.ErrUnknownService }

// serveControl opens a control door to r, and returns where.
func serveControl(t *testing.T, r control.Report) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, l, fakePlatform{r}, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// ran runs a command of this program, and returns its exit code and what it printed.
func ran(args ...string) (code int, stdout, stderr string) {
	var out, faults bytes.Buffer
	code = program.Main(program.IO{Name: "tidings", Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &faults}, run)
	return code, out.String(), faults.String()
}

func of(keys int64) control.Report {
	return control.Report{Quiet: true, Bus: control.Bus{KeepsLog: true}, Services: []lifecycle.Status{
		{Service: "users", State: lifecycle.Serving, Keys: 3, Outbox: &lifecycle.Outbox{}},
		{Service: "audit", State: lifecycle.Serving, Keys: keys, Bus: true},
	}}
}

func TestStatusExitsOneWhenTheServicesDisagree(t *testing.T) {
	for keys, want := range map[int64]int{3: 0, 2: 1} {
		at := serveControl(t, of(keys))
		code, out, faults := ran("status", "--control="+at)
		if code != want || !strings.Contains(out, "audit") || (faults != "") != (want == 1) {
			t.Errorf("%d keys: exit %d, printed %s%s", keys, code, out, faults)
		}
		code, out, _ = ran("status", "--json", "--control="+at)
		var told struct{ Disagreements []string }
		if err := json.Unmarshal([]byte(out), &told); err != nil || code != want || len(told.Disagreements) != want {
			t.Errorf("%d keys: exit %d, %v, printed %s", keys, code, err, out)
		}
	}
}

// On a bus without a log who was down lacks something for good: that is no riddle, and still no agreement.
func TestStatusExitsOneAndSaysWhyWhereWhatWasMissedIsGone(t *testing.T) {
	r := of(2)
	r.Bus.KeepsLog = false
	for i := range r.Services {
		r.Services[i].Streams = []lifecycle.Stream{{Topic: "t", Source: "/users", Log: "l", First: 1, Seq: 3}}
	}
	r.Services[1].Lag, r.Services[1].Missed, r.Services[1].Streams[0].Missed = lifecycle.UnknownLag, 1, 1
	code, out, faults := ran("status", "--control="+serveControl(t, r))
	if code != 1 || !strings.Contains(out, "it missed 1 event,") || !strings.Contains(faults, "has kept nothing that could mend it") {
		t.Errorf("exit %d, printed %s%s", code, out, faults)
	}
}

func TestStopAndStartSayWhatCameOfIt(t *testing.T) {
	at := serveControl(t, of(3))
	if code, out, _ := ran("start", "audit", "--control="+at); code != 0 || out != "audit serves\n" {
		t.Errorf("start: exit %d, %q", code, out)
	}
	if code, _, faults := ran("stop", "audit", "--control="+at); code != 1 || faults != "tidings: no such service\n" {
		t.Errorf("stop: exit %d, %q", code, faults)
	}
}
