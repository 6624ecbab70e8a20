package redis_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/redis"
)

func TestAWrongAddressNamesItsFaultAndTheMend(t *testing.T) {
	t.Setenv(redis.PasswordEnv, "")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"redis://h?bufer=1MiB":                 `bus: redis://h?bufer=1MiB: unknown parameter "bufer"; did you mean "buffer"?`,
		"redis://h?buffer=1MiB&buffer=1MiB":    `parameter "buffer" stands there 2 times`,
		"redis://h?buffer=much":                `parameter "buffer" is "much"; it must be a size such as 64MiB, from 1048576 to 2147483647 bytes`,
		"redis://h?buffer=1000":                `parameter "buffer" is "1000"`,
		"redis://h?buffer=4GiB":                `parameter "buffer" is "4GiB"`,
		"redis://h?buffer=-1MiB":               `parameter "buffer" is "-1MiB"`,
		"redis://h?buffer=1iM":                 `parameter "buffer" is "1iM"`,
		"redis://":                             `no server, or more than one; write redis://host:6379`,
		"redis:h:6379":                         `no server, or more than one`,
		"redis://one,two":                      `no server, or more than one`,
		"redis://h/topic":                      `the path "/topic" is not the number of a database; topics are not part of the address`,
		"redis://h/-1":                         `the path "/-1" is not the number of a database`,
		"redis://h#x":                          `the fragment "#x" means nothing here`,
		"redis://]h":                           `server "]h" is not host:port`,
		"redis://h:0":                          `server "h:0" is not host:port`,
		"redis://h:99999":                      `server "h:99999" is not host:port`,
		"redis://h?client.name=":               `parameter "client.name" is empty`,
		"redis://h?client.name=a%20b":          `parameter "client.name" is "a b"; it must be ASCII without spaces`,
		"redis://h?dial.timeout=soon":          `parameter "dial.timeout" is "soon"; it must be a duration such as 250ms, from 1ms to 1h0m0s`,
		"redis://h?answer.timeout=0":           `parameter "answer.timeout" is "0"`,
		"redis://h?ping.interval=-1s":          `parameter "ping.interval"`,
		"redis://h?drain=2h":                   `parameter "drain" is "2h"`,
		"redis://me@h":                         `no password for "me": set TIDINGS_REDIS_PASSWORD, or pass password.file`,
		"redis://me:secret@h":                  `a password doesn't belong in the URL; set TIDINGS_REDIS_PASSWORD, or pass password.file`,
		"redis://h?password.file=/not/there":   `parameter "password.file": open /not/there`,
		"redis://h?ca.file=/not/there":         `parameter "ca.file" needs rediss://`,
		"rediss://h?ca.file=/not/there":        `parameter "ca.file": open /not/there`,
		"rediss://h?ca.file=" + empty:          `parameter "ca.file": no certificate in ` + empty,
		"redis://h?buffer=x&drain=x&other=abc": `unknown parameter "other"; there is buffer, client.name`,
	} {
		_, err := bus.Open(t.Context(), url, redis.Backend())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got: %v\nwant: %s", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("it tells the password: %v", err)
		}
	}
}

func TestEveryFaultOfAnAddressIsTold(t *testing.T) {
	_, err := bus.Open(t.Context(), "redis://h?buffer=x&drain=x", redis.Backend())
	for _, want := range []string{"buffer", "drain"} {
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
	for _, c := range []struct{ url, env, want string }{
		{"redis://h", "", "server=h:6379 tls=false buffer=67108864 client.name=tidings dial.timeout=5s answer.timeout=10s ping.interval=5s drain=5s\""},
		{"rediss://h:1/7?buffer=3MiB&client.name=me&drain=250", "", "server=h:1 tls=true buffer=3145728 client.name=me dial.timeout=5s answer.timeout=10s ping.interval=5s drain=250ms\""},
		{"redis://h/0?buffer=2000kB", "hunter2", "buffer=2000000"},
		{"redis://h", "hunter2", "drain=5s password=(from TIDINGS_REDIS_PASSWORD)"},
		{"redis://me@h?password.file=" + secret, "", "user=me password=(from file " + secret},
	} {
		t.Setenv(redis.PasswordEnv, c.env)
		var log bytes.Buffer
		b, err := bus.Open(t.Context(), c.url, redis.Backend(), bus.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Fatal(err)
		}
		closeBus(t, b)
		if !strings.Contains(log.String(), c.want) || strings.Contains(log.String(), "hunter2") {
			t.Errorf("logged %s\nwant %s", log.String(), c.want)
		}
		// Two environments on one server, told apart by this number only, would hear one another.
		if warned := strings.Contains(log.String(), "separates no topics"); warned != strings.Contains(c.url, "/7") {
			t.Errorf("%s: warned of the database's number: %v", c.url, warned)
		}
	}
}

func TestOpenWaitsForNothing(t *testing.T) {
	closeBus(t, open(t, "redis://192.0.2.1")) // an address that nobody has
}

func TestAPasswordComesFromAFileOrTheEnvironment(t *testing.T) {
	srv := startServer(t, "--requirepass", "hunter2", "--user", "me", "on", ">mine", "allchannels", "+@all")
	for name, c := range map[string]struct{ user, env, file string }{
		"environment":          {"", "hunter2", ""},
		"file":                 {"", "", "hunter2\n"},
		"user and environment": {"me@", "mine", ""},
		"user and file":        {"me@", "not this one", "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(redis.PasswordEnv, c.env)
			url := "redis://" + c.user + srv.addr
			if c.file != "" {
				file := filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
				url += "?password.file=" + file
			}
			b := open(t, url)
			s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
			eventually(t, "the subscription", s.isReady)
			publish(t, b, "topic", event("a", 1))
			s.waitFor(1)
		})
	}
}

// The proxy speaks TLS to the client and passes on in the clear.
func TestTLSTrustsWhatItIsTold(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil) // for its certificate, made for 127.0.0.1
	defer web.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	via := startTLSProxy(t, startEmbedded(t, "127.0.0.1:0").Addr(), web.TLS)
	url := strings.Replace(via.url(), "redis:", "rediss:", 1)
	b := open(t, url, "ca.file="+ca)
	s := subscribe(t, b, bus.Subscription{Group: "g", Topics: []string{"topic"}}, nil)
	eventually(t, "the subscription", s.isReady)
	publish(t, b, "topic", event("a", 1))
	s.waitFor(1)
	log := &capture{}
	wary, err := bus.Open(t.Context(), url, redis.Backend(), bus.WithLogger(log.logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, wary) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 1)
	go func() { refused <- wary.Publish(ctx, "topic", event("a", 2)) }()
	eventually(t, "a certificate of nobody to be refused", func() bool { return strings.Contains(log.String(), "x509") })
	cancel()
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("a certificate of nobody: %v", err)
	}
}
