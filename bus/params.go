package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
)

// Params are the parameters of a URL, as those of a backend. Each method that reads one notes what is wrong with it and
// then answers with the default, so that all faults are told at once, by Err. Make one with [ParseParams]; it is for
// one goroutine.
type Params struct {
	values map[string]string
	faults []error
}

// ParseParams checks the query of a URL: every parameter must be one of known and stand there once. The error names
// every one that is wrong, and the right one where it is easily guessed:
//
//	unknown parameter "ack"; did you mean "acks"?
func ParseParams(u *url.URL, known ...string) (*Params, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	p := &Params{values: make(map[string]string, len(query))}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(known, name):
			p.faults = append(p.faults, unknownParam(name, known))
		case len(query[name]) > 1:
			p.Fault("parameter %q stands there %d times", name, len(query[name]))
		default:
			p.values[name] = query[name][0]
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// Fault notes a fault of the URL, in the words of [fmt.Errorf].
func (p *Params) Fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

// Err returns all faults that were noted, or nil.
func (p *Params) Err() error { return errors.Join(p.faults...) }

// Get returns a parameter as it stands there; set is false where it doesn't.
func (p *Params) Get(name string) (value string, set bool) {
	value, set = p.values[name]
	return value, set
}

// Text reads a parameter that may hold anything but nothing.
func (p *Params) Text(name, def string) string {
	v, set := p.values[name]
	if set && v == "" {
		p.Fault("parameter %q is empty; give it a value or leave it out", name)
	}
	if !set {
		return def
	}
	return v
}

// OneOf reads a parameter that has a few values, in upper or lower case. The first is the default.
func (p *Params) OneOf(name string, values ...string) string {
	v, set := p.values[name]
	if !set {
		return values[0]
	}
	for _, known := range values {
		if strings.EqualFold(v, known) {
			return known
		}
	}
	p.Fault("parameter %q is %q; it can be %s", name, v, strings.Join(values, ", "))
	return values[0]
}

// Number reads a whole number from low to high.
func (p *Params) Number(name string, def, low, high int) int {
	v, set := p.values[name]
	if !set {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		p.Fault("parameter %q is %q; it must be a number from %d to %d", name, v, low, high)
		return def
	}
	return n
}

// Duration reads "250ms", or a bare number of milliseconds, from low to high.
func (p *Params) Duration(name string, def, low, high time.Duration) time.Duration {
	v, set := p.values[name]
	if !set {
		return def
	}
	d, err := time.ParseDuration(v)
	if ms, msErr := strconv.ParseInt(v, 10, 32); msErr == nil {
		d, err = time.Duration(ms)*time.Millisecond, nil
	}
	if err != nil || d < low || d > high {
		p.Fault("parameter %q is %q; it must be a duration such as 250ms, from %v to %v", name, v, low, high)
		return def
	}
	return d
}

// Password reads user's password from the file that parameter file names, or else from the environment variable env,
// and says for a log line which it was. To have none is a fault where user is set.
func (p *Params) Password(user, env, file string) (password, from string) {
	password, from = os.Getenv(env), env
	if path := p.Text(file, ""); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			p.Fault("parameter %q: %w", file, err)
			return "", ""
		}
		password, from = strings.TrimRight(string(b), "\r\n"), "file "+path
		if password == "" {
			p.Fault("parameter %q: %s is empty", file, path)
			return "", ""
		}
	}
	if password == "" && user != "" {
		p.Fault("no password for %q: set %s, or pass %s", user, env, file)
	}
	return password, from
}

// TLS is how to connect to host: it trusts the authorities in the PEM file that parameter ca names, or else those that
// the system trusts. Read ca by Text too: that is what tells of an empty one.
func (p *Params) TLS(host, ca string) *tls.Config {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	path, _ := p.Get(ca)
	if path == "" {
		return c
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		p.Fault("parameter %q: %w", ca, err)
		return c
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		p.Fault("parameter %q: no certificate in %s", ca, path)
	}
	return c
}

func unknownParam(name string, known []string) error {
	best, distance := "", 3 // further away than two letters is no typing error
	for _, k := range known {
		// A short name is within two letters of any other one.
		if d := levenshtein.ComputeDistance(strings.ToLower(name), k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Errorf("unknown parameter %q; did you mean %q?", name, best)
	}
	if len(known) == 0 {
		return fmt.Errorf("unknown parameter %q; there are none", name)
	}
	return fmt.Errorf("unknown parameter %q; there is %s", name, strings.Join(known, ", "))
}
