package kafka

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzSettings holds the reading of a URL to this, whatever stands in it: it doesn't panic; it gives an error, or
// settings with which a client can be made; and the password is in neither.
func FuzzSettings(f *testing.F) {
	for _, raw := range []string{
		"kafka://h", "kafka://h:9092,g:1,[::1]:2", "kafka://,", "kafka://h:99999", "kafka:h", "kafka://h/x#y", "kafka://u@h", "kafka://h%20",
		"kafka://h?acks=1&mode=BINARY&partitions=3&replication=1&linger=5&client.id=me&drain=0", "kafka://h?client.id=%00", "kafka://h?acks=2&acks=3",
		"kafka://h?security.protocol=sasl_ssl&sasl.username=me&sasl.mechanism=plain", "kafka://h?security.protocol=sasl_plaintext&sasl.username=",
		"kafka://h?group.protocol=classic&max.poll.interval=1s", "kafka://h?max.poll.interval=999h", "kafka://h?linger=-1", "kafka://h?ssl.ca.location=x",
		"kafka://h?mode=binary&schema_registry=http://r:8081/,https://r&schema_registry.register=false&schema_registry.subject=topic_record",
		"kafka://h?mode=binary&schema_registry=http://u:p@r", "kafka://h?mode=binary&schema_registry=http://r&schema_registry.username=me",
		"kafka://h?schema_registry=", "kafka://h?schema_registry.register=true", "kafka://h?mode=binary&schema_registry=http://[",
		"kafka://h?security.protocol=sasl_ssl&sasl.username=me&sasl.password.file=none", "kafka://h?linger=1ns&max.poll.interval=1000.0001ms",
	} {
		f.Add(raw)
	}
	const secret = "s3cr3tPassw0rd"
	f.Setenv(PasswordEnv, secret)
	f.Setenv(RegistryPasswordEnv, secret)
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil || strings.ContainsAny(u.Query().Get(paramPasswordFile)+u.Query().Get(paramCA)+u.Query().Get(paramRegistryPasswordFile), "/") {
			return // a file that is not of this test, and may have no end
		}
		s, err := parseSettings(u)
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("%q: the password is told: %v", raw, err)
			}
			return
		}
		checkUsable(t, raw, s)
		if strings.Contains(s.String(), secret) {
			t.Fatalf("%q: the password is told: %v", raw, s)
		}
	})
}

func checkUsable(t *testing.T, raw string, s settings) {
	t.Helper()
	for _, b := range s.brokers {
		host, port, err := net.SplitHostPort(b)
		if err != nil || host == "" || port == "" {
			t.Fatalf("%q: broker %q: %v", raw, b, err)
		}
	}
	switch {
	case len(s.brokers) == 0, s.acks != "all" && s.acks != "1", s.mode != modeBinary && s.mode != modeStructured,
		s.partitions < 1, s.replication == 0 || s.replication < -1, s.linger < 0 || s.linger > 10*time.Second,
		s.pollInterval < time.Second, s.drain < 0, s.clientID == "", (s.mechanism == "") != (s.username == ""),
		(s.username == "") != (s.password == ""), s.ca != "" && !s.tls():
		t.Fatalf("%q: %v", raw, s)
	}
	if r := s.registry; r != nil && (s.mode != modeBinary || len(r.URLs) == 0 || (r.Username == "") != (r.Password == "")) {
		t.Fatalf("%q: %v", raw, s)
	}
	for _, r := range s.registryURLs() {
		if u, err := url.Parse(r); err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			t.Fatalf("%q: registry %q: %v", raw, r, err)
		}
	}
}

func (s settings) registryURLs() []string {
	if s.registry == nil {
		return nil
	}
	return s.registry.URLs
}
