package kafka

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// PasswordEnv names the environment variable that holds the SASL password. A password never stands in a URL, which
// ends up in process lists and logs.
const PasswordEnv = "TIDINGS_KAFKA_PASSWORD"

// Names of the URL's parameters. Those that librdkafka and the JVM client have too are called what they are there.
const (
	paramAcks          = "acks"
	paramMode          = "mode"
	paramPartitions    = "partitions"
	paramReplication   = "replication"
	paramLinger        = "linger"
	paramClientID      = "client.id"
	paramGroupProtocol = "group.protocol"
	paramPollInterval  = "max.poll.interval"
	paramDrain         = "drain"
	paramSecurity      = "security.protocol"
	paramMechanism     = "sasl.mechanism"
	paramUsername      = "sasl.username"
	paramPasswordFile  = "sasl.password.file"
	paramCA            = "ssl.ca.location"
)

// Values of group.protocol.
const (
	protocolAuto     = "auto"
	protocolConsumer = "consumer"
	protocolClassic  = "classic"
)

// Values of mode: how CloudEvents calls the two ways to make a record of an event.
const (
	modeStructured = "structured"
	modeBinary     = "binary"
)

// settings is what the URL says, checked and with its defaults filled in.
type settings struct {
	brokers       []string // host:port
	acks          string
	mode          string // of what is published; both are read
	partitions    int    // of topics that are made, like replication
	replication   int    // -1 is the broker's default
	linger        time.Duration
	clientID      string
	groupProtocol string
	pollInterval  time.Duration
	drain         time.Duration // how long a delivery in hand may take when it has to end
	security      string        // like the next four in librdkafka's words
	mechanism     string        // "" without SASL
	username      string
	password      string
	passwordFrom  string // where it was read, for a log line
	ca            string // file; "" trusts what the system trusts

	registry             *RegistryConfig // nil without a schema registry
	registryPasswordFrom string
}

// parseSettings checks all of u and names every fault that it finds. What it accepts librdkafka accepts too, so that
// no setting fails later, when the first event is to be sent.
func parseSettings(u *url.URL) (settings, error) {
	params, err := bus.ParseParams(u, paramAcks, paramMode, paramPartitions, paramReplication, paramLinger, paramClientID,
		paramGroupProtocol, paramPollInterval, paramDrain, paramSecurity, paramMechanism, paramUsername,
		paramPasswordFile, paramCA, paramRegistry, paramRegistryRegister, paramRegistrySubject, paramRegistryUsername,
		paramRegistryPasswordFile, paramRegistryCA)
	if err != nil {
		return settings{}, err
	}
	p := paramReader{params}
	s := settings{
		brokers:       p.brokers(u),
		acks:          p.OneOf(paramAcks, "all", "1"),
		mode:          p.OneOf(paramMode, modeStructured, modeBinary),
		partitions:    p.Number(paramPartitions, 12, 1, 10_000),
		replication:   p.Number(paramReplication, -1, 1, 100),
		linger:        p.Duration(paramLinger, 0, 0, 10*time.Second).Truncate(time.Millisecond), // what the client counts in, here and below
		clientID:      p.Text(paramClientID, "tidings"),
		groupProtocol: p.OneOf(paramGroupProtocol, protocolAuto, protocolConsumer, protocolClassic),
		pollInterval:  p.Duration(paramPollInterval, 5*time.Minute, time.Second, 24*time.Hour).Truncate(time.Millisecond),
		drain:         p.Duration(paramDrain, 5*time.Second, 0, time.Hour),
		security:      p.OneOf(paramSecurity, "plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
		ca:            p.Text(paramCA, ""),
	}
	p.sasl(&s)
	p.checkCA(s)
	s.registry = p.registry(&s)
	return s, p.Err()
}

// paramReader reads what only Kafka has.
type paramReader struct{ *bus.Params }

// brokers reads the host part of the address: one or more host:port, with commas between.
func (p *paramReader) brokers(u *url.URL) []string {
	switch {
	case u.Host == "" || u.Opaque != "":
		p.Fault("no broker; write kafka://host:9092")
		return nil
	case u.Path != "" && u.Path != "/":
		p.Fault("the path %q means nothing here; topics are not part of the address", u.Path)
	case u.Fragment != "":
		p.Fault("the fragment %q means nothing here", "#"+u.Fragment)
	case u.User != nil:
		p.Fault("a user doesn't belong in the address; pass %s and set %s", paramUsername, PasswordEnv)
	}
	hosts := strings.Split(u.Host, ",")
	for i, h := range hosts {
		hosts[i] = p.broker(h)
	}
	return hosts
}

// broker adds Kafka's own port where there is none.
func (p *paramReader) broker(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = strings.Trim(addr, "[]"), "9092"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "[]") {
		p.Fault("broker %q is not host:port", addr)
	}
	return net.JoinHostPort(host, port)
}

// sasl reads who is to log in, and how.
func (p *paramReader) sasl(s *settings) {
	given := func(name string) bool { v, _ := p.Get(name); return v != "" }
	if !strings.HasPrefix(s.security, "sasl_") {
		for _, name := range []string{paramMechanism, paramUsername, paramPasswordFile} {
			if given(name) {
				p.Fault("parameter %q needs %s=sasl_ssl (or sasl_plaintext)", name, paramSecurity)
			}
		}
		return
	}
	s.mechanism = p.OneOf(paramMechanism, "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
	if s.username = p.Text(paramUsername, ""); s.username == "" {
		p.Fault("%s=%s needs parameter %q", paramSecurity, s.security, paramUsername)
	}
	s.password, s.passwordFrom = p.Password(s.username, PasswordEnv, paramPasswordFile)
}

// checkCA finds out at once what would be a failed handshake later.
func (p *paramReader) checkCA(s settings) {
	if s.ca == "" {
		return
	}
	if !s.tls() {
		p.Fault("parameter %q needs %s=ssl (or sasl_ssl)", paramCA, paramSecurity)
	} else if _, err := os.Stat(s.ca); err != nil {
		p.Fault("parameter %q: %w", paramCA, err)
	}
}

// tls reports whether connections are encrypted.
func (s settings) tls() bool { return strings.HasSuffix(s.security, "ssl") }

// String lists the effective settings for a line at the start of a program. It says where a password comes from,
// never what it is.
func (s settings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "brokers=%s acks=%s linger=%v partitions=%d replication=%s group.protocol=%s "+
		"max.poll.interval=%v drain=%v client.id=%s security.protocol=%s mode=%s",
		strings.Join(s.brokers, ","), s.acks, s.linger, s.partitions, s.replicas(), s.groupProtocol,
		s.pollInterval, s.drain, s.clientID, s.security, s.mode)
	if s.mechanism != "" {
		fmt.Fprintf(&b, " sasl.mechanism=%s sasl.username=%s sasl.password=(from %s)", s.mechanism, s.username, s.passwordFrom)
	}
	if s.ca != "" {
		fmt.Fprintf(&b, " ssl.ca.location=%s", s.ca)
	}
	if s.registry != nil {
		b.WriteString(s.registry.shown(s.registryPasswordFrom))
	}
	return b.String()
}

// replicas shows the replication factor.
func (s settings) replicas() string {
	if s.replication < 0 {
		return "broker's default"
	}
	return strconv.Itoa(s.replication)
}
