package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// brokerWith starts a broker of a special kind, in memory, and returns its address.
func brokerWith(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return "kafka://" + c.ListenAddrs()[0]
}

func TestClassicGroupsServeWhereTheBrokerIsOld(t *testing.T) {
	t.Parallel()
	url := brokerWith(t, kfake.MaxVersions(kversion.V3_6_0()))
	topic := unique(t, "topic")
	b := open(t, url, "partitions=3")
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	publish(t, b, topic, events(1, 10, keys(5)...)...)
	s.waitFor(50)
	checkOrder(t, s.got(), 5, 10)

	err := open(t, url, "group.protocol=consumer").Subscribe(t.Context(), bus.Subscription{Group: "g", Topics: []string{topic}}, nil)
	if err == nil || !strings.Contains(err.Error(), "group.protocol is consumer, which the broker can't do") {
		t.Errorf("Subscribe returned %v", err)
	}
}

func TestAMemberThatIsThrownOutJoinsAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		params string
		key    kmsg.Key
		err    *kerr.Error
	}{
		"fenced":          {"group.protocol=consumer", kmsg.ConsumerGroupHeartbeat, kerr.FencedMemberEpoch},
		"unknown":         {"group.protocol=consumer", kmsg.ConsumerGroupHeartbeat, kerr.UnknownMemberID},
		"unknown classic": {"group.protocol=classic&max.poll.interval=6s", kmsg.Heartbeat, kerr.UnknownMemberID},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startBroker(t, t.TempDir(), "127.0.0.1:0")
			throwOut(t, k, fault.params, kfake.Fault{Keys: []kmsg.Key{fault.key}, Err: fault.err, TopLevel: true})
		})
	}
}

// throwOut has a heartbeat of a member answered with a fault, and expects it back with nothing lost.
func throwOut(t *testing.T, k *embedded.Kafka, params string, fault kfake.Fault) {
	t.Helper()
	topic := unique(t, "topic")
	b := open(t, k.URL(), params)
	db := newDatabase()
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume}, db.handle)
	eventually(t, "the member", s.isReady)
	publish(t, b, topic, events(1, 10, keys(20)...)...)
	defer k.Cluster().Fault(fault).Remove()
	eventually(t, "the member to be out", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.ready) > 1
	})
	eventually(t, "the member to be in again", s.isReady)
	publish(t, b, topic, events(11, 20, keys(20)...)...)
	eventually(t, "all events", func() bool { return db.count() == 400 })
	db.check(t, 400)
}

// A consumer that failed for good stays in the process, so this runs in another: the same test binary.
func TestAConsumerThatFailedForGoodIsReplacedAFewTimes(t *testing.T) {
	t.Parallel()
	if os.Getenv(apart) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), apart+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	k := startBroker(t, t.TempDir(), "127.0.0.1:0")
	refusal := kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Err: kerr.InvalidRequest, TopLevel: true}
	throwOut(t, k, "", refusal)

	refusal.Count = -1
	defer k.Cluster().Fault(refusal).Remove()
	b := open(t, k.URL())
	err := b.Subscribe(t.Context(), bus.Subscription{Group: unique(t, "group"), Topics: []string{unique(t, "topic")}}, nil)
	if err == nil || !strings.Contains(err.Error(), "Invalid request") {
		t.Errorf("Subscribe returned %v", err)
	}
	closeBus(t, b)
}

func TestSecurityParametersAreForAllConnections(t *testing.T) {
	conf, ca := certificate(t)
	t.Setenv(kafka.PasswordEnv, "secret")
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			url := brokerWith(t, kfake.TLS(conf), kfake.EnableSASL(), kfake.Superuser(mechanism, "me", "secret"))
			b := open(t, url, "security.protocol=sasl_ssl", "ssl.ca.location="+ca, "sasl.mechanism="+mechanism, "sasl.username=me")
			topic := unique(t, "topic")
			s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
			publish(t, b, topic, event("a", 1))
			s.waitFor(1)
		})
	}
}

// certificate makes one for 127.0.0.1 that signs itself, and the file to trust it by.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, file
}

func TestAWrongCertificateFileIsToldByOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := bus.Open(t.Context(), "kafka://h?security.protocol=ssl&ssl.ca.location="+file, kafka.Backend())
	if err == nil || !strings.Contains(err.Error(), "no certificate in "+file) {
		t.Errorf("Open returned %v", err)
	}
}

func ExampleBackend() {
	ctx := context.Background()
	b, err := bus.Open(ctx, "kafka://127.0.0.1:9092?linger=1", kafka.Backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err) // the address is wrong; a broker that is away is no error
	}
	defer func() { _ = b.Close(ctx) }()
}
