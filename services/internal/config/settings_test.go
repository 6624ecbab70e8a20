package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/config"
)

func TestRedact(t *testing.T) {
	for given, want := range map[string]string{
		"":                                      "",
		"kafka://h:9092,i:9092?acks=all":        "kafka://h:9092,i:9092?acks=all",
		"kafka://u:p@h:9092":                    "kafka://xxxxx@h:9092",
		"redis://token@h:6379/0":                "redis://xxxxx@h:6379/0",
		"postgres://u:p/with@odd@h/db":          "postgres://xxxxx@h/db",
		"postgres://h/db?user=u&password=p&x=1": "postgres://h/db?user=u&password=xxxxx&x=1",
		"host=h user=u password='p q' dbname=d": "host=h user=u password=xxxxx dbname=d",
		"host=h PASSWORD = p":                   "host=h PASSWORD = xxxxx",
		"kafka://h?sasl.oauth.client_secret=p":  "kafka://h?sasl.oauth.client_secret=xxxxx",
		".tidings/a@b/directory.db":             ".tidings/a@b/directory.db",
		"sqlite:///home/a@b/directory.db":       "sqlite:///home/a@b/directory.db",
	} {
		if got := config.Redact(given); got != want {
			t.Errorf("%s\ngives %s\nwant  %s", given, got, want)
		}
	}
}

func TestDataDir(t *testing.T) {
	for bus, want := range map[string]string{
		"kafka":                                 "d/kafka",
		"redis":                                 "d/redis",
		"kafka://h:9092":                        "d/kafka-h-9092",
		"kafka://u:p@h:9092/?acks=all":          "d/kafka-h-9092",
		"kafka://a.example:9092,b.example:9092": "d/kafka-a.example-9092-b.example-9092",
		"redis://h:6379":                        "d/redis-h-6379",
		"redis://h:6379/0":                      "d/redis-h-6379",
		"rediss://u@h:6379/1?client.name=a":     "d/rediss-h-6379",
		"kafka://[::1]:9092":                    "d/kafka----1--9092",
		"kafka://../../etc":                     "d/kafka-..-..-etc",
	} {
		if got := config.DataDir("d", bus); got != filepath.FromSlash(want) {
			t.Errorf("%s gives %s, want %s", bus, got, want)
		}
	}
}

func TestDataDirStaysBelowAndApart(t *testing.T) {
	long := "kafka://" + strings.Repeat("broker.example:9092,", 40)
	a, b := config.DataDir("d", long+"a:1"), config.DataDir("d", long+"b:1")
	if a == b || len(a) > 200 {
		t.Errorf("long lists of brokers give %s and %s", a, b)
	}
	for _, bus := range []string{"..", ".", "../..", "", "/", "kafka://.."} {
		dir := config.DataDir("d", bus)
		if rel, err := filepath.Rel("d", dir); err != nil || rel == "." || strings.HasPrefix(rel, "..") {
			t.Errorf("%q gives %s, which is not below d", bus, dir)
		}
	}
}

func TestNewLogger(t *testing.T) {
	var out bytes.Buffer
	log := config.NewLogger(&out, "json", slog.LevelWarn)
	log.Info("not this")
	log.Warn("this", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "this" || line["n"] != 1.0 {
		t.Errorf("json: %s (%v)", &out, err)
	}
	out.Reset()
	config.NewLogger(&out, "text", slog.LevelDebug).Debug("this", "n", 1)
	if !strings.Contains(out.String(), "level=DEBUG msg=this n=1") {
		t.Errorf("text: %s", &out)
	}
}

func TestListenSaysWhichFlagToPass(t *testing.T) {
	l, err := config.Listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address := l.Addr().String()
	_, err = config.Listen(t.Context(), "--listen", address)
	want := "--listen " + address + " is in use; stop the other process or pass --listen"
	if err == nil || err.Error() != want || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = config.Listen(t.Context(), "--http", "127.0.0.1:99999")
	var op *net.OpError
	if !errors.As(err, &op) || !strings.HasPrefix(err.Error(), "--http 127.0.0.1:99999: ") {
		t.Errorf("got %v", err)
	}
}
