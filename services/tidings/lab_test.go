package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/lab"
)

// labReport is as it should be, changed for the test.
func labReport(change func(kafka, redis *lab.Outcome)) lab.Report {
	took := 0.2
	r := lab.Report{Users: 10, Buses: []lab.Outcome{
		{Bus: "kafka", KeepsLog: true, Written: 20, WhileDown: 10, CaughtUp: &took, NewcomerReceived: 20},
		{Bus: "redis", Written: 20, WhileDown: 10, Missed: 10, Counted: 10},
	}}
	change(&r.Buses[0], &r.Buses[1])
	return r
}

// printed prints a report as the command does, and returns its exit code.
func printed(r lab.Report, asJSON bool) (code int, stdout, stderr string) {
	var out, faults bytes.Buffer
	code = program.Main(program.IO{Name: "tidings", Stdout: &out, Stderr: &faults}, func(context.Context, program.IO) error {
		return (&labCommand{JSON: asJSON}).print(&out, r)
	})
	return code, out.String(), faults.String()
}

func TestTheLabFailsWhereABusIsNotAsPromised(t *testing.T) {
	for _, c := range []struct {
		change func(kafka, redis *lab.Outcome)
		code   int
		reason string
	}{
		{func(_, _ *lab.Outcome) {}, 0, ""},
		{func(k, _ *lab.Outcome) { k.Missed = 3 }, 1, "tidings: lab: Kafka: directory missed 3 of 20 users, and was to miss none\n"},
		{func(k, _ *lab.Outcome) { k.NewcomerReceived = 0 }, 1, "tidings: lab: Kafka: a brand-new service received 0 of 20 users, and was to receive all\n"},
		{func(_, r *lab.Outcome) { r.Counted = 9 }, 1, "tidings: lab: Redis PubSub: directory missed 10 users, and counted 9\n"},
	} {
		for _, asJSON := range []bool{false, true} {
			code, out, reason := printed(labReport(c.change), asJSON)
			if code != c.code || reason != c.reason {
				t.Errorf("exit %d, %q; want %d, %q", code, reason, c.code, c.reason)
			}
			if !strings.Contains(out, "ost nothing") && !strings.Contains(out, "not as it should be") || json.Valid([]byte(out)) != asJSON {
				t.Errorf("what came out is to be printed in any case: %s", out)
			}
		}
	}
}

// What one bus took minutes for is not thrown away when the other one fails.
func TestTheLabPrintsWhatIsDoneBesideAnError(t *testing.T) {
	broken := errors.New("--redis redis://h stopped answering")
	whole := labReport(func(_, _ *lab.Outcome) {})
	for _, asJSON := range []bool{false, true} {
		for buses, want := range []string{"", "Kafka lost nothing"} {
			var out bytes.Buffer
			err := (&labCommand{JSON: asJSON}).end(&out, lab.Report{Users: 10, Buses: whole.Buses[:buses]}, broken)
			if err != broken || !strings.Contains(out.String(), want) || want == "" && out.Len() > 0 {
				t.Errorf("%d done: %v, printed %q; want %q", buses, err, &out, want)
			}
		}
	}
}

func TestWrongFlagsOfTheLabAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"-n 0":                      "--count 0: pass how many users to write, 1 to 100000",
		"-n -5":                     "--count",
		"-n 100001":                 "--count 100001",
		"-n many":                   "--count",
		"--kafka=redis://h:1":       "--kafka redis://h:1: pass an address such as kafka://host:port",
		"--redis=kafka://h:1":       "--redis kafka://h:1: pass an address such as redis:// or rediss://host:port",
		"--kafka=kafka://h:1?ack=1": `--kafka: bus: `,
		"extra":                     "extra",
	} {
		if code, out, reason := ran(append([]string{"lab"}, strings.Fields(args)...)...); code != 2 || out != "" || !strings.Contains(reason, want) {
			t.Errorf("%s: exit %d, %q, %q; want 2 and %s", args, code, out, reason, want)
		}
	}
}

// TIDINGS_USERS is an address that `up` takes, and TIDINGS_N nothing.
func TestTheLabTakesNoCountFromTheEnvironment(t *testing.T) {
	t.Setenv("TIDINGS_USERS", "127.0.0.1:8481")
	t.Setenv("TIDINGS_COUNT", "0")
	t.Setenv("TIDINGS_KAFKA", "h:1") // which it does take, so that it goes no further than that
	if code, _, reason := ran("lab"); code != 2 || !strings.Contains(reason, "--kafka h:1") {
		t.Errorf("exit %d, %q", code, reason)
	}
}

func TestTheLab(t *testing.T) {
	code, out, steps := ran("lab", "-n", "20", "--json")
	var r struct {
		lab.Report
		Conclusion string
		Faults     []string
	}
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
		t.Fatalf("exit %d, %v, %q, %q", code, err, out, steps)
	}
	if r.Users != 20 || len(r.Buses) != 2 || r.Conclusion == "" || r.Faults == nil || len(r.Faults) > 0 {
		t.Fatalf("got %+v", r)
	}
	kafka, redis := r.Buses[0], r.Buses[1]
	if !kafka.Embedded || !redis.Embedded {
		t.Errorf("on %s and %s", kafka.Server(), redis.Server())
	}
	if kafka.Written != 40 || kafka.Missed != 0 || kafka.CaughtUp == nil || kafka.NewcomerReceived != 40 {
		t.Errorf("Kafka: %+v", kafka)
	}
	if redis.Written != 40 || redis.Missed != 20 || redis.Counted != 20 || redis.CaughtUp != nil || redis.NewcomerReceived != 0 {
		t.Errorf("Redis: %+v", redis)
	}
	for _, line := range slices.Collect(strings.Lines(steps)) {
		if !strings.HasPrefix(line, "Kafka         ") && !strings.HasPrefix(line, "Redis PubSub  ") {
			t.Errorf("told %q", line)
		}
	}
}

func TestOnATerminalTheLabShowsABarWhileItWrites(t *testing.T) {
	var out bytes.Buffer
	d := &labDisplay{out: &out, terminal: true}
	d.step("Kafka", "one")
	for range 3 {
		d.wrote(3)
	}
	d.step("Kafka", "two")
	d.finish() // without one
	if got := out.String(); !strings.Contains(got, "writing") || !strings.HasPrefix(got, "Kafka         one\n") || !strings.HasSuffix(got, "Kafka         two\n") {
		t.Errorf("got %q", got)
	}
	if plain := newLabDisplay(io.Discard); plain.terminal {
		t.Error("what is no file is no terminal")
	}
}
