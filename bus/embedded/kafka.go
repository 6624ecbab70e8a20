package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

// DefaultKafkaAddr is where the embedded Kafka broker listens unless it is told otherwise: a port of its own, so
// that it doesn't stand in the way of a real broker on 9092.
const DefaultKafkaAddr = "127.0.0.1:19092"

// KafkaConfig says where the embedded Kafka broker listens and keeps its log.
type KafkaConfig struct {
	// Addr is host:port, on loopback; port 0 picks a free one. Empty is [DefaultKafkaAddr].
	Addr string
	// Dir keeps the log, and is made where it is missing. One process at a time can have it. It must be set.
	Dir string
	// Log hears what the broker has to say, which is only faults; nil is [slog.Default].
	Log *slog.Logger
	// Unsynced leaves it to the operating system when what was acknowledged reaches the disk. It outlives the
	// death of the process, but not a power cut. Zero, false, waits for the disk each time (about half a
	// millisecond an acknowledgement on an SSD).
	Unsynced bool
}

// Kafka is a Kafka broker inside this process: one node that keeps its log on disk, with consumer groups of both
// protocols. What it has acknowledged outlives the process, and a power cut too unless it is Unsynced. Use it for
// first runs, tests and laptops: there is no second copy, no password and no TLS; a record has its publisher's time,
// also where the topic asks for the broker's; and after a restart it holds the log in memory as well (1.1 GB for
// 5,000,000 events).
type Kafka struct {
	cluster *kfake.Cluster
	conns   *listener
	lock    *dirLock
	addr    string

	closing  sync.Once
	closed   chan struct{}
	closeErr error // once closed
}

// The broker's defaults are for data centres: 5 s between heartbeats, so that a rebalance takes as long, and 45 s
// until a member that died is missed.
const (
	groupHeartbeatMS = "200"
	groupSessionMS   = "6000"
)

// StartKafka starts a broker, or an earlier one again from its log in cfg.Dir, and returns when it answers. It
// does not block otherwise: the broker runs until Close. ctx bounds only the start.
//
// It returns an error that says what to change when the address is in use or not on loopback, or when another
// process has cfg.Dir.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	k, err := startKafka(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded kafka: %w", err)
	}
	return k, nil
}

func startKafka(ctx context.Context, cfg KafkaConfig) (_ *Kafka, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("no Dir; name a folder for the log")
	}
	if cfg.Addr == "" {
		cfg.Addr = DefaultKafkaAddr
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	k := &Kafka{closed: make(chan struct{})}
	if k.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if k.conns, err = listen(ctx, cfg.Addr); err != nil {
		return nil, errors.Join(err, k.lock.release())
	}
	if k.cluster, err = kfake.NewCluster(kafkaOptions(cfg, k.conns)...); err != nil {
		return nil, errors.Join(fmt.Errorf("log in %s: %w", cfg.Dir, err), k.conns.Close(), k.lock.release())
	}
	k.addr = k.conns.Addr().String()
	return k, nil
}

func kafkaOptions(cfg KafkaConfig, l net.Listener) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("tidings-embedded"),
		kfake.DataDir(cfg.Dir),
		kfake.WithLogger(kafkaLog{cfg.Log}),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return l, nil }),
		kfake.BrokerConfigs(map[string]string{
			"group.consumer.heartbeat.interval.ms": groupHeartbeatMS,
			"group.consumer.session.timeout.ms":    groupSessionMS,
		}),
	}
	if !cfg.Unsynced {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

// Addr is host:port of the broker, with the port that was picked.
func (k *Kafka) Addr() string { return k.addr }

// URL is the address for [bus.Open]: "kafka://127.0.0.1:19092".
func (k *Kafka) URL() string { return "kafka://" + k.addr }

// Cluster gives tests the broker itself, to inject faults and to look inside.
func (k *Kafka) Cluster() *kfake.Cluster { return k.cluster }

// Close stops the broker: it saves its state, hangs up on every client and gives the folder free. It blocks until
// that is done or ctx ends; then it goes on behind the caller's back, and the error says so. A second Close waits
// for the first.
func (k *Kafka) Close(ctx context.Context) error {
	k.closing.Do(func() { go k.shutDown() })
	select {
	case <-k.closed:
		return k.closeErr
	case <-ctx.Done():
		return fmt.Errorf("embedded kafka: close: still saving its state: %w", context.Cause(ctx))
	}
}

func (k *Kafka) shutDown() {
	defer close(k.closed)
	k.cluster.Close()
	k.conns.hangUp()
	if err := k.lock.release(); err != nil {
		k.closeErr = fmt.Errorf("embedded kafka: close: %w", err)
	}
}

// listen listens on a loopback address.
func listen(ctx context.Context, addr string) (*listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q is not host:port", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address %q is not on loopback; pass 127.0.0.1:%s (anybody may do anything here, so only this machine may connect)", addr, port)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("address %s is in use; stop the other process or pass another address", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return newListener(l), nil
}

// kafkaLog passes on what the broker reports as an error. Its warnings are about the timing of requests, which on a
// busy laptop means nothing, and below that it speaks of each request.
type kafkaLog struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded kafka: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	case kfake.LogLevelWarn:
		l.log.Debug("embedded kafka: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// makeDir makes the folder for a broker's log, for this user alone.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder for the log: %w", err)
	}
	return nil
}
