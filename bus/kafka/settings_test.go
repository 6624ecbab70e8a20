package kafka_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
)

func TestAWrongAddressNamesItsFaultAndTheMend(t *testing.T) {
	t.Setenv(kafka.PasswordEnv, "")
	for url, want := range map[string]string{
		"kafka://h:9092?ack=1":                 `bus: kafka://h:9092?ack=1: unknown parameter "ack"; did you mean "acks"?`,
		"kafka://h:9092?acks=2":                `parameter "acks" is "2"; it can be all, 1`,
		"kafka://h:9092?acks=all&acks=1":       `parameter "acks" stands there 2 times`,
		"kafka://h:9092?mode=text":             `parameter "mode" is "text"; it can be structured, binary`,
		"kafka://":                             `no broker; write kafka://host:9092`,
		"kafka:h:9092":                         `no broker; write kafka://host:9092`,
		"kafka://h/topic":                      `the path "/topic" means nothing here`,
		"kafka://h#x":                          `the fragment "#x" means nothing here`,
		"kafka://me@h":                         `a user doesn't belong in the address; pass sasl.username`,
		"kafka://h,:9092":                      `broker ":9092" is not host:port`,
		"kafka://h]g":                          `broker "h]g" is not host:port`,
		"kafka://h:0":                          `broker "h:0" is not host:port`,
		"kafka://h?partitions=0":               `parameter "partitions" is "0"; it must be a number from 1 to 10000`,
		"kafka://h?partitions=many":            `it must be a number`,
		"kafka://h?replication=0":              `parameter "replication" is "0"`,
		"kafka://h?linger=soon":                `parameter "linger" is "soon"; it must be a duration such as 250ms`,
		"kafka://h?linger=-1ms":                `parameter "linger"`,
		"kafka://h?client.id=":                 `parameter "client.id" is empty`,
		"kafka://h?group.protocol=new":         `it can be auto, consumer, classic`,
		"kafka://h?security.protocol=tls":      `it can be plaintext, ssl, sasl_plaintext, sasl_ssl`,
		"kafka://h?sasl.username=me":           `parameter "sasl.username" needs security.protocol=sasl_ssl`,
		"kafka://h?security.protocol=sasl_ssl": `needs parameter "sasl.username"`,
		"kafka://h?ssl.ca.location=/x":         `parameter "ssl.ca.location" needs security.protocol=ssl`,
		"kafka://h?security.protocol=ssl&ssl.ca.location=/does/not/exist":                          `parameter "ssl.ca.location": stat /does/not/exist`,
		"kafka://h?security.protocol=sasl_ssl&sasl.username=me":                                    `no password for "me": set TIDINGS_KAFKA_PASSWORD, or pass sasl.password.file`,
		"kafka://h?security.protocol=sasl_ssl&sasl.username=me&sasl.password.file=/does/not/exist": `parameter "sasl.password.file": open /does/not/exist`,
		"kafka://h?security.protocol=sasl_plaintext&sasl.username=me&sasl.password=secret":         `unknown parameter "sasl.password"`,
		"kafka://h?security.protocol=sasl_plaintext&sasl.username=me&sasl.mechanism=GSSAPI":        `it can be SCRAM-SHA-512, SCRAM-SHA-256, PLAIN`,
	} {
		_, err := bus.Open(t.Context(), url, kafka.Backend())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got: %v\nwant: %s", url, err, want)
		}
	}
}

func TestEveryFaultOfAnAddressIsTold(t *testing.T) {
	_, err := bus.Open(t.Context(), "kafka://h?partitions=0&linger=x", kafka.Backend())
	for _, want := range []string{"partitions", "linger"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestOpenLogsTheEffectiveSettingsAndNoSecret(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ env, params, want string }{
		{"", "", "brokers=a:9092,b:1234 acks=all linger=0s partitions=12 replication=broker's default group.protocol=auto"},
		{"", "", "security.protocol=plaintext mode=structured"},
		{"", "?mode=Binary", "mode=binary"},
		{"", "?acks=1&linger=5&partitions=3&replication=2&client.id=me", "acks=1 linger=5ms partitions=3 replication=2"},
		{"hunter2", "?security.protocol=sasl_plaintext&sasl.username=me", "sasl.mechanism=SCRAM-SHA-512 sasl.username=me sasl.password=(from TIDINGS_KAFKA_PASSWORD)"},
		{"", "?security.protocol=SASL_PLAINTEXT&sasl.username=me&sasl.mechanism=plain&sasl.password.file=" + secret, "sasl.mechanism=PLAIN sasl.username=me sasl.password=(from file " + secret},
	} {
		t.Setenv(kafka.PasswordEnv, c.env)
		var log bytes.Buffer
		b, err := bus.Open(t.Context(), "kafka://a,b:1234"+c.params, kafka.Backend(), bus.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Fatal(err)
		}
		closeBus(t, b)
		if !strings.Contains(log.String(), c.want) || strings.Contains(log.String(), "hunter2") {
			t.Errorf("logged %s\nwant %s", log.String(), c.want)
		}
	}
}

func TestOpenWaitsForNothing(t *testing.T) {
	closeBus(t, open(t, "kafka://192.0.2.1:9092")) // an address that nobody has
}
