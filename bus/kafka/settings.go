package kafka

import (
	"errors"
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
}

// parseSettings checks all of u and names every fault that it finds. What it accepts librdkafka accepts too, so that
// no setting fails later, when the first event is to be sent.
func parseSettings(u *url.URL) (settings, error) {
	params, err := bus.ParseParams(u, paramAcks, paramMode, paramPartitions, paramReplication, paramLinger, paramClientID,
		paramGroupProtocol, paramPollInterval, paramDrain, paramSecurity, paramMechanism, paramUsername,
		paramPasswordFile, paramCA)
	if err != nil {
		return settings{}, err
	}
	p := paramReader{params: params}
	s := settings{
		brokers:       p.brokers(u),
		acks:          p.oneOf(paramAcks, "all", "1"),
		mode:          p.oneOf(paramMode, modeStructured, modeBinary),
		partitions:    p.number(paramPartitions, 12, 1, 10_000),
		replication:   p.number(paramReplication, -1, 1, 100),
		linger:        p.duration(paramLinger, 0, 0, 10*time.Second),
		clientID:      p.text(paramClientID, "tidings"),
		groupProtocol: p.oneOf(paramGroupProtocol, protocolAuto, protocolConsumer, protocolClassic),
		pollInterval:  p.duration(paramPollInterval, 5*time.Minute, time.Second, 24*time.Hour),
		drain:         p.duration(paramDrain, 5*time.Second, 0, time.Hour),
		security:      p.oneOf(paramSecurity, "plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
		ca:            p.text(paramCA, ""),
	}
	p.sasl(&s)
	p.checkCA(s)
	return s, errors.Join(p.faults...)
}

// paramReader collects faults, so that all of them are told at once. A parameter that is wrong reads as its default.
type paramReader struct {
	params map[string]string
	faults []error
}

// fault adds a fault.
func (p *paramReader) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

// brokers reads the host part of the address: one or more host:port, with commas between.
func (p *paramReader) brokers(u *url.URL) []string {
	switch {
	case u.Host == "" || u.Opaque != "":
		p.fault("no broker; write kafka://host:9092")
		return nil
	case u.Path != "" && u.Path != "/":
		p.fault("the path %q means nothing here; topics are not part of the address", u.Path)
	case u.Fragment != "":
		p.fault("the fragment %q means nothing here", "#"+u.Fragment)
	case u.User != nil:
		p.fault("a user doesn't belong in the address; pass %s and set %s", paramUsername, PasswordEnv)
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
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		p.fault("broker %q is not host:port", addr)
	}
	return net.JoinHostPort(host, port)
}

// text reads a parameter that may hold anything but nothing.
func (p *paramReader) text(name, def string) string {
	v, ok := p.params[name]
	if ok && v == "" {
		p.fault("parameter %q is empty; give it a value or leave it out", name)
	}
	if !ok {
		return def
	}
	return v
}

// oneOf takes the first value as the default.
func (p *paramReader) oneOf(name string, values ...string) string {
	v, ok := p.params[name]
	if !ok {
		return values[0]
	}
	for _, known := range values {
		if strings.EqualFold(v, known) {
			return known
		}
	}
	p.fault("parameter %q is %q; it can be %s", name, v, strings.Join(values, ", "))
	return values[0]
}

// number reads a parameter from low to high.
func (p *paramReader) number(name string, def, low, high int) int {
	v, ok := p.params[name]
	if !ok {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		p.fault("parameter %q is %q; it must be a number from %d to %d", name, v, low, high)
	}
	return n
}

// duration reads "250ms" or, as Kafka has it, a bare number of milliseconds.
func (p *paramReader) duration(name string, def, low, high time.Duration) time.Duration {
	v, ok := p.params[name]
	if !ok {
		return def
	}
	d, err := time.ParseDuration(v)
	if ms, msErr := strconv.ParseInt(v, 10, 32); msErr == nil {
		d, err = time.Duration(ms)*time.Millisecond, nil
	}
	if err != nil || d < low || d > high {
		p.fault("parameter %q is %q; it must be a duration such as 250ms, from %v to %v", name, v, low, high)
	}
	return d.Truncate(time.Millisecond) // what the client counts in
}

// sasl reads who is to log in, and how.
func (p *paramReader) sasl(s *settings) {
	given := func(name string) bool { return p.params[name] != "" }
	if !strings.HasPrefix(s.security, "sasl_") {
		for _, name := range []string{paramMechanism, paramUsername, paramPasswordFile} {
			if given(name) {
				p.fault("parameter %q needs %s=sasl_ssl (or sasl_plaintext)", name, paramSecurity)
			}
		}
		return
	}
	s.mechanism = p.oneOf(paramMechanism, "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
	if s.username = p.text(paramUsername, ""); s.username == "" {
		p.fault("%s=%s needs parameter %q", paramSecurity, s.security, paramUsername)
	}
	p.password(s)
}

// password gets the password from a file or the environment, and takes note of which.
func (p *paramReader) password(s *settings) {
	if file := p.text(paramPasswordFile, ""); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			p.fault("parameter %q: %w", paramPasswordFile, err)
		}
		s.password, s.passwordFrom = strings.TrimRight(string(b), "\r\n"), "file "+file
	} else {
		s.password, s.passwordFrom = os.Getenv(PasswordEnv), PasswordEnv
	}
	if s.password == "" && len(p.faults) == 0 {
		p.fault("no password for %q: set %s, or pass %s", s.username, PasswordEnv, paramPasswordFile)
	}
}

// checkCA finds out at once what would be a failed handshake later.
func (p *paramReader) checkCA(s settings) {
	if s.ca == "" {
		return
	}
	if !s.tls() {
		p.fault("parameter %q needs %s=ssl (or sasl_ssl)", paramCA, paramSecurity)
	} else if _, err := os.Stat(s.ca); err != nil {
		p.fault("parameter %q: %w", paramCA, err)
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
	return b.String()
}

// replicas shows the replication factor.
func (s settings) replicas() string {
	if s.replication < 0 {
		return "broker's default"
	}
	return strconv.Itoa(s.replication)
}
