package redis

import (
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/url"
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
	p := paramReader{params}
	s := settings{
		addr:          p.addr(u),
		database:      p.database(u),
		username:      u.User.Username(),
		clientName:    p.clientName(),
		buffer:        p.bytes(paramBuffer, 64<<20, 1<<20, math.MaxInt32),
		dialTimeout:   p.Duration(paramDialTimeout, 5*time.Second, time.Millisecond, time.Hour),
		answerTimeout: p.Duration(paramAnswerTimeout, 10*time.Second, time.Millisecond, time.Hour),
		pingInterval:  p.Duration(paramPingInterval, 5*time.Second, time.Millisecond, time.Hour),
		drain:         p.Duration(paramDrain, 5*time.Second, 0, time.Hour),
	}
	s.password, s.passwordFrom = p.Password(s.username, PasswordEnv, paramPasswordFile)
	p.tls(u, &s)
	return s, p.Err()
}

// paramReader reads what only Redis has.
type paramReader struct{ *bus.Params }

// addr reads host and port of the address.
func (p *paramReader) addr(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "6379"
	}
	switch {
	case u.Opaque != "" || host == "" || strings.Contains(u.Host, ","):
		p.Fault("no server, or more than one; write %s://host:6379", u.Scheme)
	case u.Fragment != "":
		p.Fault("the fragment %q means nothing here", "#"+u.Fragment)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.ContainsAny(host, "[]") {
		p.Fault("server %q is not host:port", u.Host)
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
		p.Fault("the path %q is not the number of a database; topics are not part of the address", u.Path)
	}
	return n
}

// clientName refuses what the server refuses when it is too late.
func (p *paramReader) clientName() string {
	name := p.Text(paramClientName, "tidings")
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.Fault("parameter %q is %q; it must be ASCII without spaces", paramClientName, name)
	}
	return name
}

// bytes reads a size: "64MiB", "500kB" or a bare number of bytes.
func (p *paramReader) bytes(name string, def, low, high int) int {
	v, set := p.Get(name)
	if !set {
		return def
	}
	digits := strings.TrimRight(v, "kMGiB")
	unit, known := map[string]int{"": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "kiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[v[len(digits):]]
	n, err := strconv.Atoi(digits)
	if err != nil || !known || n > high/unit || n*unit < low {
		p.Fault("parameter %q is %q; it must be a size such as 64MiB, from %d to %d bytes", name, v, low, high)
		return def
	}
	return n * unit
}

// tls finds out at once what would be a failed handshake later.
func (p *paramReader) tls(u *url.URL, s *settings) {
	s.ca = p.Text(paramCA, "")
	if u.Scheme != schemeTLS {
		if s.ca != "" {
			p.Fault("parameter %q needs %s://", paramCA, schemeTLS)
		}
		return
	}
	s.tls = p.TLS(u.Hostname(), paramCA)
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
