package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// PasswordEnv names the environment variable that holds the password. A password never stands in a URL, which ends
// up in process lists and logs.
const PasswordEnv = "TIDINGS_REDIS_PASSWORD"

// Names of the URL's parameters.
const (
	paramBuffer        = "buffer"
	paramClientName    = "client.name"
	paramPasswordFile  = "password.file"
	paramCA            = "ca.file"
	paramDialTimeout   = "dial.timeout"
	paramAnswerTimeout = "answer.timeout"
	paramPingInterval  = "ping.interval"
	paramDrain         = "drain"
)

// settings is what the URL says, checked and with its defaults filled in.
type settings struct {
	addr          string // host:port
	database      uint64 // which separates no channels
	tls           *tls.Config
	ca            string // file; "" trusts what the system trusts
	username      string
	password      string
	passwordFrom  string // where it was read, for a log line
	clientName    string
	buffer        int           // bytes
	dialTimeout   time.Duration // of a connection, with its handshakes
	answerTimeout time.Duration // of a pipeline
	pingInterval  time.Duration // for how long a subscription may be silent before it is asked
	drain         time.Duration // how long deliveries may take when the subscription has to end
}

// parseSettings checks all of u and names every fault that it finds.
func parseSettings(u *url.URL) (settings, error) {
	params, err := bus.ParseParams(u, paramBuffer, paramClientName, paramPasswordFile, paramCA, paramDialTimeout,
		paramAnswerTimeout, paramPingInterval, paramDrain)
	if err != nil {
		return settings{}, err
	}
	p := paramReader{params: params}
	s := settings{
		addr:          p.addr(u),
		database:      p.database(u),
		username:      u.User.Username(),
		clientName:    p.clientName(),
		buffer:        p.bytes(paramBuffer, 64<<20, 1<<20, math.MaxInt32),
		dialTimeout:   p.duration(paramDialTimeout, 5*time.Second, time.Millisecond, time.Hour),
		answerTimeout: p.duration(paramAnswerTimeout, 10*time.Second, time.Millisecond, time.Hour),
		pingInterval:  p.duration(paramPingInterval, 5*time.Second, time.Millisecond, time.Hour),
		drain:         p.duration(paramDrain, 5*time.Second, 0, time.Hour),
	}
	p.password(&s)
	p.tls(u, &s)
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

// addr reads host and port of the address.
func (p *paramReader) addr(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "6379"
	}
	switch {
	case u.Opaque != "" || host == "" || strings.Contains(u.Host, ","):
		p.fault("no server, or more than one; write %s://host:6379", u.Scheme)
	case u.Fragment != "":
		p.fault("the fragment %q means nothing here", "#"+u.Fragment)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		p.fault("server %q is not host:port", u.Host)
	}
	return net.JoinHostPort(host, port)
}

// database reads the path.
func (p *paramReader) database(u *url.URL) uint64 {
	db := strings.TrimPrefix(u.Path, "/")
	if db == "" {
		return 0
	}
	n, err := strconv.ParseUint(db, 10, 16)
	if err != nil {
		p.fault("the path %q is not the number of a database; topics are not part of the address", u.Path)
	}
	return n
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

// clientName refuses what the server refuses when it is too late.
func (p *paramReader) clientName() string {
	name := p.text(paramClientName, "tidings")
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.fault("parameter %q is %q; it must be ASCII without spaces", paramClientName, name)
	}
	return name
}

// bytes reads a size: "64MiB", "500kB" or a bare number of bytes.
func (p *paramReader) bytes(name string, def, low, high int) int {
	v, ok := p.params[name]
	if !ok {
		return def
	}
	digits := strings.TrimRight(v, "kMGiB")
	unit, known := map[string]int{"": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "kiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[v[len(digits):]]
	n, err := strconv.Atoi(digits)
	if err != nil || !known || n > high/unit || n*unit < low {
		p.fault("parameter %q is %q; it must be a size such as 64MiB, from %d to %d bytes", name, v, low, high)
		return def
	}
	return n * unit
}

// duration reads "250ms" or a bare number of milliseconds.
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
		return def
	}
	return d
}

// password gets the password from a file or the environment, and takes note of which.
func (p *paramReader) password(s *settings) {
	if file := p.text(paramPasswordFile, ""); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			p.fault("parameter %q: %w", paramPasswordFile, err)
			return
		}
		s.password, s.passwordFrom = strings.TrimRight(string(b), "\r\n"), "file "+file
	} else {
		s.password, s.passwordFrom = os.Getenv(PasswordEnv), PasswordEnv
	}
	if s.password == "" && s.username != "" {
		p.fault("no password for %q: set %s, or pass %s", s.username, PasswordEnv, paramPasswordFile)
	}
}

// tls finds out at once what would be a failed handshake later.
func (p *paramReader) tls(u *url.URL, s *settings) {
	s.ca = p.text(paramCA, "")
	if u.Scheme != schemeTLS {
		if s.ca != "" {
			p.fault("parameter %q needs %s://", paramCA, schemeTLS)
		}
		return
	}
	s.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if s.ca == "" {
		return
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		p.fault("parameter %q: %w", paramCA, err)
		return
	}
	s.tls.RootCAs = x509.NewCertPool()
	if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
		p.fault("parameter %q: no certificate in %s", paramCA, s.ca)
	}
}

// String lists the effective settings for a line at the start of a program. It says where a password comes from,
// never what it is.
func (s settings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server=%s tls=%t buffer=%d client.name=%s dial.timeout=%v answer.timeout=%v ping.interval=%v drain=%v",
		s.addr, s.tls != nil, s.buffer, s.clientName, s.dialTimeout, s.answerTimeout, s.pingInterval, s.drain)
	if s.username != "" {
		fmt.Fprintf(&b, " user=%s", s.username)
	}
	if s.password != "" {
		fmt.Fprintf(&b, " password=(from %s)", s.passwordFrom)
	}
	if s.ca != "" {
		fmt.Fprintf(&b, " ca.file=%s", s.ca)
	}
	return b.String()
}
