package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestTailSaysWhatIsTypedWrong(t *testing.T) {
	for args, want := range map[string]string{
		"--from=soon":                      "--from soon: pass end, beginning, a time that has been, such as ",
		"--from=-2h":                       "--from -2h: pass end",
		"--from=2999-01-01T00:00:00Z":      "--from 2999-01-01T00:00:00Z: pass end",
		"--from=":                          "--from : pass end",
		"--bus=redis --from=beginning":     "--from beginning: Redis PubSub keeps nothing of what was; leave --from out",
		"--bus=rediss://h:1 --from=2h":     "--from 2h: Redis PubSub keeps nothing",
		"--topic=":                         "--topic is empty; pass the topic to read, such as user_activity",
		"--topic=a/b":                      `--topic "a/b": Kafka has no such names; pass letters`,
		"-n 0":                             "--count 0: pass after how many events to end, 1 or more",
		"-n -1":                            "--count -1",
		"--count=x":                        "--count",
		"--type=":                          "--type is empty; pass a type such as users.events.v1.UserUpdated",
		"--bus=nowhere":                    `--bus: bus: "nowhere" is not an address; pass one such as`,
		"--bus=kafka://h:1?ack=1":          "--bus: ",
		"--bus=http://h":                   "--bus: bus: no backend for scheme",
		"--bus=kafka://me:secret@h:1":      "--bus: bus: kafka://me:xxxxx@h:1: a password doesn't belong in the URL",
		"--nothing":                        "unknown flag --nothing",
		"users.events.v1.UserCreated":      "unexpected argument",
		"--bus=redis://h:1 --topic=":       "--topic is empty",
		"--bus=kafka://h:1 --topic=häuser": "--topic \"häuser\"",
	} {
		if code, out, reason := ran(append([]string{"tail"}, strings.Fields(args)...)...); code != 2 || out != "" || !strings.Contains(reason, want) {
			t.Errorf("tail %s: exit %d, %q, %q; want 2 and %s", args, code, out, reason, want)
		}
	}
}

func TestWhereTailBegins(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for from, want := range map[string]bus.Start{
		"end": bus.Latest(), "beginning": bus.Earliest(), "2h": bus.Since(now.Add(-2 * time.Hour)),
		"2026-11-23T07:00:00Z": bus.Since(now.Add(-time.Hour)),
	} {
		if got, err := (&tailCommand{From: from}).start(now); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", from, got, err, want)
		}
	}
	for bus, want := range map[string]string{"kafka": "kafka://127.0.0.1:19092", "redis": "redis://127.0.0.1:16379/0", "kafka://h:1": "kafka://h:1"} {
		if got := (&tailCommand{Bus: bus}).address(); got != want {
			t.Errorf("%s is %s, want %s", bus, got, want)
		}
	}
}

// Flags of others' names in the environment mean nothing to it.
func TestTail(t *testing.T) {
	for _, name := range []string{"TIDINGS_FROM", "TIDINGS_KEY", "TIDINGS_TYPE", "TIDINGS_COUNT", "TIDINGS_JSON"} {
		t.Setenv(name, "x")
	}
	b := servicetest.Common(t, "audit")
	conn := servicetest.OnKafka(t, &b)
	ada := servicetest.NewUser("ada@example.com", "Ada")
	servicetest.PublishTo(t, conn, b.Topic, ada.Created(t), ada.Updated(t, "ada@example.com", "Ada King"))
	code, out, said := ran("tail", "--bus="+b.Bus, "--topic="+b.Topic, "--from=beginning", "-n", "1", "--type=UserUpdated", "--key="+ada.ID)
	if code != 0 || !strings.Contains(out, " users.events.v1.UserUpdated "+ada.ID+` 2 /users {"user":{"id":"`+ada.ID) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, %q", code, out)
	}
	if !strings.HasPrefix(said, "tail: "+b.Topic+" at "+b.Bus+" from the beginning: up to 2 are there") {
		t.Errorf("said %q", said)
	}
	code, out, _ = ran("tail", "--bus="+b.Bus, "--topic="+b.Topic, "--from=1h", "-n2", "--json")
	if code != 0 || strings.Count(out, `{"specversion":"1.0","id":"`) != 2 {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestTailExplainsItself(t *testing.T) {
	code, out, _ := ran("tail", "--help")
	for _, part := range []string{"Print the events of a topic as they come, decoded.", "--from=PLACE", "Events of one key come in their order", "no consumer group is joined"} {
		if code != 0 || !strings.Contains(strings.Join(strings.Fields(out), " "), part) {
			t.Errorf("exit %d, no %q in\n%s", code, part, out)
		}
	}
}
