package submission

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// PasswordEnv names the environment variable that holds the password. A password never stands in an address, which
// ends up in process lists and logs.
const PasswordEnv = "TIDINGS_SMTP_PASSWORD"

// Schemes of an address: TLS from STARTTLS on, or from the first byte.
const (
	scheme    = "smtp"
	schemeTLS = "smtps"
)

// Names of the address's parameters.
const (
	paramTLS          = "tls"
	paramCA           = "ca.file"
	paramPasswordFile = "password.file"
	paramHelo         = "helo"
	paramTimeout      = "timeout"
	paramConnections  = "connections"
)

// policy says what to do about TLS.
type policy string

const (
	required      policy = "required"      // STARTTLS, or no mail
	opportunistic policy = "opportunistic" // STARTTLS where the server offers it
	none          policy = "none"          // never
	implicit      policy = "implicit"      // smtps: the connection begins with it
)

// defaultTimeout is long enough for a server that looks at each mail before it answers.
const defaultTimeout = 30 * time.Second

// Settings is what an address says, checked and with its defaults filled in.
type Settings struct {
	// Timeout is how long one mail may take, with the wait for a connection and everything else: where more mails are
	// sent at once than there are Connections, a slow server may leave too little of it for the last ones.
	Timeout time.Duration
	// Connections is how many there may be at once.
	Connections int

	host     string
	addr     string // host:port
	policy   policy
	tls      *tls.Config // nil where policy is none
	user     string
	password string
	from     string // where the password was read, for a log line
	ca       string // file; "" trusts what the system trusts
	helo     string
}

// Parse reads and checks an address: smtp://user@host:587 or smtps://user@host:465, with parameters behind a "?". It
// reads the files that they name, and the password, and tells every fault at once. Errors never hold what may be a
// password. It asks no server.
//
//   - tls is required (the default), opportunistic, or none (the default where the host is this machine: "localhost"
//     or a loopback address); smtps has none to choose. A certificate is always checked.
//   - ca.file is a PEM file of the authorities to trust, instead of the system's.
//   - password.file holds the password; [PasswordEnv] otherwise.
//   - helo is the name that we greet with, by default this machine's.
//   - timeout is Settings.Timeout, from 1s to 1h, by default 30s.
//   - connections is Settings.Connections, from 1 to 100, by default 1.
func Parse(address string) (Settings, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Settings{}, errors.New("it is not an address; write smtp://user@host:587") // err may hold a password
	}
	if _, set := u.User.Password(); set {
		return Settings{}, fmt.Errorf("it holds a password, which ends up in process lists and logs; leave it out, and set %s or pass %s",
			PasswordEnv, paramPasswordFile)
	}
	if u.Scheme != scheme && u.Scheme != schemeTLS {
		return Settings{}, errors.New("it has to begin with smtp:// or smtps://; write smtp://user@host:587")
	}
	params, err := bus.ParseParams(u, paramTLS, paramCA, paramPasswordFile, paramHelo, paramTimeout, paramConnections)
	if err != nil {
		return Settings{}, err
	}
	r := reader{params}
	s := Settings{
		user: u.User.Username(), host: u.Hostname(),
		Timeout: r.Duration(paramTimeout, defaultTimeout, time.Second, time.Hour), Connections: r.Number(paramConnections, 1, 1, 100),
		helo: r.heloName(),
	}
	s.addr = r.addr(u)
	s.policy = r.policy(u)
	r.password(&s)
	r.tls(&s)
	return s, r.Err()
}

// String lists the settings for a line at the start of a program. It says where a password comes from, never what it is.
func (s Settings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server=%s tls=%s helo=%s timeout=%v connections=%d", s.addr, s.policy, s.helo, s.Timeout, s.Connections)
	if s.user != "" {
		fmt.Fprintf(&b, " user=%s password=(from %s)", s.user, s.from)
	}
	if s.ca != "" {
		fmt.Fprintf(&b, " ca.file=%s", s.ca)
	}
	return b.String()
}

// reader reads what only mail servers have.
type reader struct{ *bus.Params }

func (r *reader) addr(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{scheme: "587", schemeTLS: "465"}[u.Scheme]
	}
	switch {
	case u.Hostname() == "":
		r.Fault("it names no server; write %s://user@host:%s", u.Scheme, port)
	case strings.Trim(u.Path, "/") != "" || u.Fragment != "":
		r.Fault("nothing but parameters may follow the server; write %s://user@host:%s?%s=…", u.Scheme, port, paramCA)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		r.Fault("port %s is none; pass one from 1 to 65535", port)
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// policy is safe unless told otherwise: off this machine nobody listens in on what goes to this machine.
func (r *reader) policy(u *url.URL) policy {
	p, set := r.Get(paramTLS)
	switch {
	case u.Scheme == schemeTLS && set:
		r.Fault("parameter %q means nothing with %s://, which always has TLS", paramTLS, schemeTLS)
		return implicit
	case u.Scheme == schemeTLS:
		return implicit
	case !set && isLoopbackName(u.Hostname()):
		return none
	case !set:
		return required
	case policy(p) != required && policy(p) != opportunistic && policy(p) != none:
		r.Fault("parameter %q is %.20q; pass %s, %s or %s", paramTLS, p, required, opportunistic, none)
		return required
	}
	return policy(p)
}

// password gets the password, and refuses to send it where it would be read.
func (r *reader) password(s *Settings) {
	s.password, s.from = r.Password(s.user, PasswordEnv, paramPasswordFile)
	switch {
	case s.password != "" && s.user == "":
		r.Fault("there is a password (from %s) and nobody whose it is; write %s://user@host, or take it away", s.from, scheme)
	case s.password != "" && s.policy == none && !isLoopbackName(s.host):
		r.Fault("with %s=%s the password would go to %s for all to read; pass %[1]s=%[4]s, or name no user", paramTLS, none, s.host, required)
	}
}

// tls finds out at once what would be a failed handshake later.
func (r *reader) tls(s *Settings) {
	s.ca = r.Text(paramCA, "")
	if s.policy == none {
		if s.ca != "" {
			r.Fault("parameter %q is of no use without TLS; pass %s=%s too", paramCA, paramTLS, required)
		}
		return
	}
	s.tls = r.TLS(s.host, paramCA)
}

// heloName is the machine's name unless told otherwise. A name that no server would take is worse than "localhost".
func (r *reader) heloName() string {
	if name := r.Text(paramHelo, ""); name != "" {
		if !isHeloName(name) {
			r.Fault("parameter %q is %.64q; pass a host name, or an address in brackets", paramHelo, name)
		}
		return name
	}
	if name, err := os.Hostname(); err == nil && isHeloName(name) {
		return name
	}
	return "localhost"
}

func isHeloName(name string) bool {
	return name != "" && len(name) < 256 && !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' })
}

// isLoopbackName goes by the name alone. Where a name leads to is looked at once a connection stands.
func isLoopbackName(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
