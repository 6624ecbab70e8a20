package redis

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
		"redis://h", "rediss://h:1/2", "redis://me@h/15", "redis://h:99999", "redis:h", "redis://h/x#y", "redis://[::1]:6379", "redis://h,g",
		"redis://h?buffer=1MiB&client.name=me&dial.timeout=5s&answer.timeout=250&ping.interval=1ms&drain=0", "redis://h?buffer=9999999999GiB",
		"redis://h?buffer=-1MiB", "redis://h?buffer=MiB", "redis://h?buffer=kkkB", "redis://h?client.name=%00", "redis://h?ca.file=x", "rediss://h?ca.file=none",
		"redis://h?password.file=none", "redis://h?drain=1h1ns", "redis:///1", "redis://h/65536",
	} {
		f.Add(raw)
	}
	const secret = "s3cr3tPassw0rd"
	f.Setenv(PasswordEnv, secret)
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil || strings.ContainsAny(u.Query().Get(paramPasswordFile)+u.Query().Get(paramCA), "/") {
			return // a file that is not of this test, and may have no end
		}
		s, err := parseSettings(u)
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("%q: the password is told: %v", raw, err)
			}
			return
		}
		host, _, err := net.SplitHostPort(s.addr)
		switch {
		case err != nil, host == "", s.database > 65535, s.buffer < 1<<20, s.clientName == "", s.dialTimeout < time.Millisecond,
			s.answerTimeout < time.Millisecond, s.pingInterval < time.Millisecond, s.drain < 0, s.ca != "" && s.tls == nil,
			s.password != secret, strings.Contains(s.String(), secret):
			t.Fatalf("%q: %v", raw, s)
		}
	})
}
