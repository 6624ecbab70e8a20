package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidings-dev/tidings/bus/redis"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// atOnce is far below the patience that is the default, and bears a busy machine.
const atOnce = 10 * time.Second

func redisServer(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	m, err := miniredis.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// kafkaServer returns the address of a broker that finds every password wrong.
func kafkaServer(t *testing.T) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "root", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	// By itself it only hangs up, as a real one does not.
	c.ControlKey(kmsg.SASLAuthenticate.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return answer, nil, true
	})
	return c.ListenAddrs()[0]
}

// silentServer returns the address of a server that waits for somebody to say something that it knows.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", freePort)
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		talks.Wait()
	})
	return l.Addr().String()
}

// wantFailure runs the experiment, and wants the error to begin and to contain what it is given.
func wantFailure(t *testing.T, cfg Config, kinds []kind, begin, contains string) {
	t.Helper()
	cfg.temp = t.TempDir()
	cfg.Users = max(cfg.Users, 1)
	report, err := run(t.Context(), cfg, kinds)
	if err == nil || !strings.HasPrefix(err.Error(), begin) || !strings.Contains(err.Error(), contains) {
		t.Errorf("got  %v\nwant %s … %s", err, begin, contains)
	}
	if len(report.Buses) != 0 {
		t.Errorf("got %+v", report)
	}
	nothingIn(t, cfg.temp)
}

// wantRefusal is wantFailure at once.
func wantRefusal(t *testing.T, cfg Config, kinds []kind, begin, contains string) {
	t.Helper()
	began := time.Now()
	wantFailure(t, cfg, kinds, begin, contains)
	if took := time.Since(began); took > atOnce {
		t.Errorf("%s … %s: only after %v", begin, contains, took)
	}
}

func TestAServerThatRefusesIsToldAtOnceByItsOwnWords(t *testing.T) {
	t.Setenv(redis.PasswordEnv, "")
	plain := redisServer(t).Addr()
	silent := silentServer(t)
	locked := redisServer(t)
	locked.RequireAuth("right")
	broker := kafkaServer(t)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	const used = "lab: Redis PubSub: --redis "
	for _, c := range []struct {
		id, url, begin, contains string
	}{
		{"redis", "redis://" + locked.Addr(), used + "redis://" + locked.Addr() + " can't be used: redis at " + locked.Addr() + ": NOAUTH", ""},
		{"redis", "redis://" + locked.Addr() + "?password.file=" + wrong, used, "can't be used: redis at " + locked.Addr() + ": WRONGPASS"},
		{"redis", "rediss://" + plain, used + "rediss://" + plain + " does not answer in TLS; is it a port without?: redis at " + plain, ""},
		{"redis", "rediss://" + silent + "?dial.timeout=100ms", used, " does not answer in TLS; is it a port without?: redis at " + silent},
		{
			"kafka", "kafka://" + broker + "?security.protocol=sasl_plaintext&sasl.mechanism=PLAIN&sasl.username=root&sasl.password.file=" + wrong,
			"lab: Kafka: --kafka kafka://" + broker, " can't be used: ",
		},
	} {
		wantRefusal(t, Config{Kafka: c.url, Redis: c.url}, only(t, c.id), c.begin, c.contains)
	}
}

// A right is granted for the topics of the next try, too.
func TestARefusalNamesTheTopicsOfAllTries(t *testing.T) {
	t.Parallel()
	for denied, begin := range map[string]string{"PUBLISH": "asking", "SUBSCRIBE": "the server"} {
		m := redisServer(t)
		m.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
			if strings.EqualFold(cmd, denied) {
				c.WriteError("NOPERM no access to " + args[0])
				return true
			}
			return false
		})
		last := ""
		cfg := Config{Redis: "redis://" + m.Addr(), Step: func(_, what string) { last = what }}
		wantRefusal(t, cfg, only(t, "redis"), "lab: Redis PubSub: --redis redis://"+m.Addr()+" can't be used: ", "NOPERM no access to tidings-lab-*")
		if !strings.HasPrefix(last, begin) {
			t.Errorf("%s is denied, and it came to %q", denied, last)
		}
	}
}

// One half has no use without the other, so nothing is begun.
func TestEveryServerIsAskedBeforeTheFirstExperiment(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"lab: Kafka: --kafka kafka://127.0.0.1:1 does not answer; is it running?: ":          {Kafka: "kafka://127.0.0.1:1"},
		"lab: Redis PubSub: --redis redis://127.0.0.1:1/0 does not answer; is it running?: ": {Redis: "redis://127.0.0.1:1/0"},
	} {
		cfg.Patience = 2 * time.Second
		cfg.Step = func(bus, what string) {
			if !strings.HasPrefix(what, "asking the server at ") {
				t.Errorf("%s: %s", bus, what)
			}
		}
		wantFailure(t, cfg, kinds(), want, "connection refused")
	}
}

func TestAServerThatVanishesIsNamedByItsFlagAndTheStep(t *testing.T) {
	t.Parallel()
	m := redisServer(t)
	cfg := Config{Users: 1000, Redis: "redis://" + m.Addr(), Patience: 2 * time.Second, Step: func(_, what string) {
		if strings.HasPrefix(what, "directory is stopped") {
			m.Close()
		}
	}}
	wantFailure(t, cfg, only(t, "redis"), "lab: Redis PubSub: --redis redis://"+m.Addr()+" stopped answering while 1,000 users were written: ", "connection refused")
}

// The error of a server that does answer is that of the service.
func TestAServerThatStillAnswersIsNotAccused(t *testing.T) {
	t.Parallel()
	stuck := &stuckError{what: "something is on its way to it"}
	broken := errors.New("disk full")
	s := &stage{kind: only(t, "redis")[0], cfg: Config{Redis: "redis://" + redisServer(t).Addr()}.withDefaults(), topic: newTopic()}
	for _, err := range []error{stuck, broken} {
		if got := s.explain(t.Context(), err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.explain(ended, stuck); !errors.Is(got, context.Canceled) {
		t.Errorf("after the end: %v", got)
	}
}

func TestTheBusesThatAreDoneAreReportedBesideAnError(t *testing.T) {
	t.Parallel()
	broken := only(t, "redis")[0]
	broken.embedded = "nonsense"
	report, err := run(t.Context(), Config{Users: 1, temp: t.TempDir()}, []kind{only(t, "kafka")[0], broken})
	if err == nil || !strings.HasPrefix(err.Error(), "lab: Redis PubSub: ") {
		t.Errorf("got %v", err)
	}
	if len(report.Buses) != 1 || report.Buses[0].Bus != "kafka" || report.Buses[0].NewcomerReceived != 2 || report.Users != 1 {
		t.Errorf("got %+v", report)
	}
}

// What a second interrupt leaves has to be told before there is one.
func TestWhatWouldBeLeftIsTold(t *testing.T) {
	t.Parallel()
	dir, left := t.TempDir(), []string{}
	url := servicetest.KafkaURL(t)
	told := &steps{}
	_, err := run(t.Context(), Config{
		Users: 1, Kafka: url, temp: dir, Step: told.add, Leaves: func(what string) { left = append(left, what) },
	}, only(t, "kafka"))
	if err != nil || len(left) != 4 {
		t.Fatalf("%v, %q", err, left)
	}
	folder := "the folder " + filepath.Join(dir, "tidings-lab-")
	if !strings.HasPrefix(left[0], folder) || left[1] != left[0]+", and the topic "+told.topic(t)+" on "+url || left[2] != left[0] || left[3] != "" {
		t.Errorf("got %q", left)
	}
	if !strings.Contains(told.String(), "writing 1 user\n") || strings.Contains(told.String(), "1 users") {
		t.Errorf("told\n%v", told)
	}
}
