package kafka

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func TestTheSameTroubleIsLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newThrottle(slog.New(slog.NewTextHandler(&out, nil)))
		say := func() int {
			out.Reset()
			log.Log(slog.LevelWarn, "broker", "the broker is away")
			log.Log(slog.LevelWarn, "other", "something else")
			return strings.Count(out.String(), "\n")
		}
		if n := say(); n != 2 {
			t.Errorf("%d lines the first time", n)
		}
		if n := say(); n != 0 {
			t.Errorf("%d lines at once", n)
		}
		log.again("broker")
		if n := say(); n != 1 {
			t.Errorf("%d lines after it was over", n)
		}
		sleep(t.Context(), quiet)
		if n := say(); n != 2 {
			t.Errorf("%d lines after a while", n)
		}
	})
}

func TestLibrdkafkasLogGoesToOurs(t *testing.T) {
	var out bytes.Buffer
	logs := logsOf(newThrottle(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	for _, e := range []ck.LogEvent{
		{Tag: "FATAL", Level: 0, Message: "one"},
		{Tag: "FAIL", Level: 3, Message: "two"},
		{Tag: "FAIL", Level: 3, Message: "three"},
		{Tag: "CONFWARN", Level: 4, Message: "four"},
		{Tag: "INFO", Level: 6, Message: "five"},
	} {
		logs.ch <- e
	}
	logs.stop()
	want := []string{"ERROR one", "WARN two", "DEBUG three", "DEBUG four", "DEBUG five"}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("logged %s", out.String())
	}
	for i, w := range want {
		level, msg, _ := strings.Cut(w, " ")
		if !strings.Contains(lines[i], "level="+level) || !strings.Contains(lines[i], `msg="librdkafka: `+msg+`"`) {
			t.Errorf("logged %s, want %s", lines[i], w)
		}
	}
}
