package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// What stands here was measured. The defaults of librdkafka are for throughput over slow links; several of them cost
// a local consumer most of its speed, and linger costs a publisher that waits for each batch most of its own.

// Bounds of memory. Each is for the whole producer or consumer, whatever the number of partitions.
const (
	// publishQueueKB bounds what waits to be sent; Publish waits while it is full.
	publishQueueKB = 64 << 10
	// prefetchKB bounds what librdkafka holds of events that no delivery has taken yet. One fetch may go past it
	// by its own size (fetch.max.bytes).
	prefetchKB    = 32 << 10
	fetchMaxBytes = 16 << 20
)

// maxBatchBytes bounds what is sent for one partition at once; it is the broker's own default for it. The largest
// event, of bus.MaxEventBytes, and its framing fit in.
const maxBatchBytes = 1_048_588

// classicSession is how long a member of a classic group may be silent; the client refuses more than the poll
// interval. In the newer protocol the broker says how long.
const classicSession = 45 * time.Second

// common is what producer and consumer share.
func (s settings) common() ck.ConfigMap {
	m := ck.ConfigMap{
		"bootstrap.servers": strings.Join(s.brokers, ","),
		"client.id":         s.clientID,
		"security.protocol": s.security,
		// A broker that is back should be found within a second, not within ten.
		"reconnect.backoff.ms":     50,
		"reconnect.backoff.max.ms": 1000,
		"socket.keepalive.enable":  true,
		// Nobody asked for telemetry, and the client logs that it can't push it.
		"enable.metrics.push":    false,
		"go.logs.channel.enable": true,
		"log.connection.close":   false, // the state of the connection is reported by events
	}
	if s.mechanism != "" {
		m["sasl.mechanism"], m["sasl.username"], m["sasl.password"] = s.mechanism, s.username, s.password
	}
	if s.ca != "" {
		m["ssl.ca.location"] = s.ca
	}
	return m
}

// producer is the configuration of the producer: no event is lost, doubled or reordered by the client's own
// retries, and, with acks=all, nothing that follows a failed event is stored without it.
func (s settings) producer(logs chan ck.LogEvent) *ck.ConfigMap {
	m := s.common()
	m["go.logs.channel"] = logs
	m["acks"] = s.acks
	if s.acks == "all" {
		m["enable.idempotence"] = true
		m["enable.gapless.guarantee"] = true
	}
	// Without idempotence a retry may overtake what was sent after it, unless nothing is. With it, too, at the first
	// request to a partition: a broker that has never heard of the producer takes any sequence number. So a second
	// request can be stored after a first one was refused (the partition was just made, or its leader moved), and the
	// client takes the first for acknowledged: events lost without a word (KAFKA-15591, confluent-kafka-go #921).
	m["max.in.flight.requests.per.connection"] = 1
	m["linger.ms"] = int(s.linger.Milliseconds())
	// Java's partitioner, so that a JVM producer on the topic puts a key where we put it.
	m["partitioner"] = "murmur2_random"
	// Publish is bounded by its context alone: an event that timed out by itself would leave a gap.
	m["message.timeout.ms"] = 0
	m["queue.buffering.max.messages"] = 1_000_000
	m["queue.buffering.max.kbytes"] = publishQueueKB
	m["message.max.bytes"] = maxBatchBytes
	m["go.delivery.report.fields"] = "none"
	m["go.events.channel.size"] = 1000
	m["go.produce.channel.size"] = 0
	return &m
}

// consumer is the configuration of a consumer of group. Where it starts is always said explicitly, so that the
// client never decides by itself to go back to the start or on to the end.
func (s settings) consumer(group, protocol string, logs chan ck.LogEvent) *ck.ConfigMap {
	m := s.common()
	m["go.logs.channel"] = logs
	m["group.id"] = group
	m["group.protocol"] = protocol
	if protocol == protocolClassic {
		m["partition.assignment.strategy"] = "cooperative-sticky"
		m["session.timeout.ms"] = int(min(s.pollInterval, classicSession).Milliseconds())
	}
	m["auto.offset.reset"] = "error"
	m["enable.auto.offset.store"] = false
	m["enable.auto.commit"] = false
	// The end of a partition is told, so that ranges move over what no reader sees (transaction markers).
	m["enable.partition.eof"] = true
	// With the default of 1000 fetching stands still for a second each time that the queue is full.
	m["fetch.queue.backoff.ms"] = 1
	m["fetch.error.backoff.ms"] = 100
	m["queued.max.messages.kbytes"] = prefetchKB
	m["fetch.max.bytes"] = fetchMaxBytes
	// Says each second whether the group's coordinator answers; see readiness.
	m["statistics.interval.ms"] = 1000
	// A commit to a broker that went away holds up the end of a subscription for as long.
	m["socket.timeout.ms"] = 10_000
	m["max.poll.interval.ms"] = int(s.pollInterval.Milliseconds())
	return &m
}

// admin is the configuration of the client that asks what the broker can do and what topics look like. That is
// franz-go, for librdkafka tells neither the versions of a broker's API nor, in one question, a topic's id and bounds.
func (s settings) admin() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.brokers...),
		kgo.ClientID(s.clientID),
		kgo.SoftwareNameAndVersion("tidings", "0"),
		kgo.MetadataMinAge(10 * time.Millisecond), // leaders move, and topics are made anew
		kgo.RequestRetries(2),                     // whoever asks tries again, until a context ends
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.DialTimeout(5 * time.Second),
	}
	switch s.mechanism {
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: s.username, Pass: s.password}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: s.username, Pass: s.password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: s.username, Pass: s.password}.AsSha512Mechanism()))
	}
	if !s.tls() {
		return opts, nil
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	return append(opts, kgo.DialTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})), nil
}

// roots is nil, which means the system's, where no file is named.
func (s settings) roots() (*x509.CertPool, error) {
	if s.ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", paramCA, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("parameter %q: no certificate in %s", paramCA, s.ca)
	}
	return roots, nil
}
