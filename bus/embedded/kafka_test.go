package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// child holds a folder where this test binary is to be a broker, in a process of its own.
const child = "TIDINGS_TEST_BROKER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		os.Exit(serve(dir))
	}
	goleak.VerifyTestMain(m)
}

// serve runs a broker until it is killed, and says where.
func serve(dir string) int {
	k, err := embedded.StartKafka(context.Background(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(k.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func start(t *testing.T, cfg embedded.KafkaConfig) *embedded.Kafka {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	k, err := embedded.StartKafka(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, k) })
	return k
}

func stop(t *testing.T, k *embedded.Kafka) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := k.Close(ctx); err != nil {
		t.Error(err)
	}
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce makes a topic and appends n records to it.
func produce(t *testing.T, addr, topic string, n int) {
	t.Helper()
	cl := client(t, addr)
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 3, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := &kgo.Record{Topic: topic, Key: []byte(strconv.Itoa(i)), Value: []byte("v" + strconv.Itoa(i))}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// consume fails unless the topic holds n records.
func consume(t *testing.T, addr, topic string, n int) {
	t.Helper()
	cl := client(t, addr, kgo.ConsumeTopics(topic))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := map[string]bool{}
	for len(got) < n {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d records of %d: %v", len(got), n, err)
		}
		f.EachRecord(func(r *kgo.Record) { got[string(r.Key)] = true })
	}
}

func TestTheAddressIsTheOneThatWasPicked(t *testing.T) {
	k := start(t, embedded.KafkaConfig{Dir: t.TempDir()})
	host, port, err := net.SplitHostPort(k.Addr())
	if err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("address %q", k.Addr())
	}
	if k.URL() != "kafka://"+k.Addr() {
		t.Errorf("URL %q", k.URL())
	}
	produce(t, k.Addr(), "topic", 10)
	consume(t, k.Addr(), "topic", 10)
}

func TestARestartFindsTheLog(t *testing.T) {
	for name, unsynced := range map[string]bool{"synced": false, "unsynced": true} {
		t.Run(name, func(t *testing.T) {
			cfg := embedded.KafkaConfig{Dir: filepath.Join(t.TempDir(), "made", "on", "the", "way"), Unsynced: unsynced}
			k := start(t, cfg)
			produce(t, k.Addr(), "topic", 100)
			stop(t, k)
			stop(t, k) // does nothing
			k = start(t, cfg)
			consume(t, k.Addr(), "topic", 100)
		})
	}
}

func TestAKilledBrokerLosesNothingAndFreesItsFolder(t *testing.T) {
	dir := t.TempDir()
	cmd, addr := startChild(t, dir)
	produce(t, addr, "topic", 100)
	_, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: dir})
	if want := fmt.Sprintf("folder %s is in use by process %d; stop that one or pass another folder", dir, cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want: %s", err, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	k := start(t, embedded.KafkaConfig{Dir: dir})
	consume(t, k.Addr(), "topic", 100)
}

func TestABrokerKilledUnderLoadKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	cmd, addr := startChild(t, dir)
	produce(t, addr, "topic", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cl := client(t, addr, kgo.DisableIdempotentWrite()) // with it, what is in flight can't be cancelled
	acked := make(chan int)
	reached := make(chan struct{})
	go func() {
		n := 0
		for cl.ProduceSync(ctx, &kgo.Record{Topic: "topic", Key: []byte(strconv.Itoa(n)), Value: make([]byte, 1000)}).FirstErr() == nil {
			if n++; n == 300 {
				close(reached)
			}
		}
		acked <- n
	}()
	<-reached
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	cancel()
	n := <-acked
	k := start(t, embedded.KafkaConfig{Dir: dir})
	consume(t, k.Addr(), "topic", n)
}

// startChild starts a broker in another process, and returns its address.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+dir)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 0, 64)
	for !bytes.HasSuffix(line, []byte("\n")) {
		b := make([]byte, 1)
		if _, err := out.Read(b); err != nil {
			t.Fatalf("the other process said %q: %v", line, err)
		}
		line = append(line, b...)
	}
	return cmd, strings.TrimSpace(string(line))
}

func TestAFolderHasOneBrokerInAProcessToo(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.KafkaConfig{Dir: dir})
	_, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("got %v", err)
	}
}

func TestAWrongConfigNamesTheMend(t *testing.T) {
	k := start(t, embedded.KafkaConfig{Dir: t.TempDir()})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  embedded.KafkaConfig
		want string
	}{
		{embedded.KafkaConfig{Addr: "127.0.0.1:0"}, "no Dir; name a folder for the log"},
		{embedded.KafkaConfig{Addr: k.Addr(), Dir: t.TempDir()}, "address " + k.Addr() + " is in use; stop the other process or pass another address"},
		{embedded.KafkaConfig{Addr: "0.0.0.0:0", Dir: t.TempDir()}, "is not on loopback; pass 127.0.0.1:0"},
		{embedded.KafkaConfig{Addr: ":0", Dir: t.TempDir()}, "is not on loopback; pass 127.0.0.1:0"},
		{embedded.KafkaConfig{Addr: "example.com:1", Dir: t.TempDir()}, "is not on loopback"},
		{embedded.KafkaConfig{Addr: "19092", Dir: t.TempDir()}, `address "19092" is not host:port`},
		{embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: file}, "folder for the log"},
	} {
		_, err := embedded.StartKafka(t.Context(), c.cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "embedded kafka: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want: %s", c.cfg, err, c.want)
		}
		// What failed has given its folder free.
		if c.cfg.Dir != "" && c.cfg.Dir != file {
			start(t, embedded.KafkaConfig{Dir: c.cfg.Dir})
		}
	}
}

func TestCloseHangsUpOnItsClients(t *testing.T) {
	k := start(t, embedded.KafkaConfig{Dir: t.TempDir()})
	conn, err := net.Dial("tcp", k.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	produce(t, k.Addr(), "topic", 1) // by now the connection above has been accepted
	stop(t, k)
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection ended with %v", err)
	}
	if conn, err := net.Dial("tcp", k.Addr()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func TestCloseTellsWhenItsContextWasTooShort(t *testing.T) {
	k := start(t, embedded.KafkaConfig{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Close returned %v", err)
	}
}

func ExampleStartKafka() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tidings")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	k, err := embedded.StartKafka(ctx, embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: dir})
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.HasPrefix(k.URL(), "kafka://127.0.0.1:"))
	if err := k.Close(ctx); err != nil {
		panic(err)
	}
	// Output: true
}
