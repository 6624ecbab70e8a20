package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Backend is a kind of bus: the URL schemes that it answers to, and how to open one. A backend is an [Option]
// of [Open]; what is not passed to Open is not linked into the program.
type Backend struct {
	// Schemes are the URL schemes, in lower case: "kafka".
	Schemes []string
	// Open checks every part of the URL, unknown parameters included ([ParseParams]), and returns without
	// waiting for a server. What it returns only has to deliver: validation, hooks and the retry of handlers
	// are put around it once, by [Wrap].
	Open func(ctx context.Context, u *url.URL, log *slog.Logger) (Bus, error)
	// Password says where a password comes from, for whoever writes it into the URL, where it is refused: "set
	// TIDINGS_KAFKA_PASSWORD, or pass sasl.password.file".
	Password string
}

// Option is a setting of [Open] and [Wrap].
type Option interface{ apply(*options) }

type options struct {
	backends []Backend
	hooks    Hooks
	log      *slog.Logger
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

func (b Backend) apply(o *options) { o.backends = append(o.backends, b) }

// WithHooks sets the hooks that every Publish and every delivery passes.
func WithHooks(h Hooks) Option { return optionFunc(func(o *options) { o.hooks = h }) }

// WithLogger sets where the bus logs what nobody is told by an error: a backend that is away, a topic whose
// settings are otherwise, a handler that is tried again. The default is [slog.Default].
func WithLogger(l *slog.Logger) Option { return optionFunc(func(o *options) { o.log = l }) }

func newOptions(opts []Option) options {
	o := options{log: slog.Default()}
	for _, opt := range opts {
		opt.apply(&o)
	}
	return o
}

// Open opens the bus that the URL names with one of the backends among opts. It checks the URL whole and waits
// for no server: a bus whose broker is away can be opened, and publishes and delivers once the broker is there.
func Open(ctx context.Context, rawURL string, opts ...Option) (Bus, error) {
	o := newOptions(opts)
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, unreadable(rawURL, err, o.backends)
	}
	i := slices.IndexFunc(o.backends, func(b Backend) bool { return slices.Contains(b.Schemes, u.Scheme) })
	if i < 0 {
		return nil, unknownScheme(u, o.backends)
	}
	if u.User != nil {
		if _, secret := u.User.Password(); secret {
			return nil, fmt.Errorf("bus: %s: a password doesn't belong in the URL; %s", redacted(u),
				cmp.Or(o.backends[i].Password, "pass it by environment or file"))
		}
	}
	if strayUser(u) {
		return nil, fmt.Errorf("bus: %s: there is an @ where no user can stand; pass a URL such as %s", redacted(u), examples(o.backends))
	}
	b, err := o.backends[i].Open(ctx, u, o.log)
	if err != nil {
		return nil, fmt.Errorf("bus: %s: %w", redacted(u), err)
	}
	return Wrap(b, opts...), nil
}

// unreadable says why there is no URL to be had. [url.Error] repeats the whole URL, and the error within it a part:
// where there may be a password, neither is shown.
func unreadable(rawURL string, err error, backends []Backend) error {
	if strings.ContainsAny(rawURL, "@?") || strings.Contains(rawURL, "%40") {
		return fmt.Errorf("bus: the URL can't be read (and isn't shown, for it may hold a password); pass one such as %s", examples(backends))
	}
	return fmt.Errorf("bus: %q can't be read: %w; pass one such as %s", rawURL, errors.Unwrap(err), examples(backends))
}

func unknownScheme(u *url.URL, backends []Backend) error {
	if u.Scheme == "" || u.Host == "" && u.Opaque == "" {
		return fmt.Errorf("bus: %q is not an address; pass one such as %s", redacted(u), examples(backends))
	}
	return fmt.Errorf("bus: no backend for scheme %q; there is %s", u.Scheme, examples(backends))
}

// examples is an address for each scheme there is.
func examples(backends []Backend) string {
	var known []string
	for _, b := range backends {
		for _, s := range b.Schemes {
			known = append(known, s+"://host:port")
		}
	}
	if len(known) == 0 {
		return "none: no backend was passed to Open"
	}
	return strings.Join(known, " or ")
}

// strayUser reports whether user and password may stand where they are no user and password, as in "kafka:me:secret@host",
// which lacks its slashes. No address of a backend has an @ there.
func strayUser(u *url.URL) bool { return strings.Contains(u.Opaque+u.Path+u.Fragment, "@") }

// redacted is u without what could be a secret: the password, what stands before a stray @, and parameters that are
// named like one, or have an @ in them, as the address of another server has that names a user.
func redacted(u *url.URL) string {
	if strayUser(u) {
		return fmt.Sprintf("%s:xxxxx (it may hold a password)", u.Scheme)
	}
	shown := *u
	pairs := strings.Split(u.RawQuery, "&")
	for i, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if secretName.MatchString(name) || strings.Contains(strings.ReplaceAll(value, "%40", "@"), "@") {
			pairs[i] = name + "=xxxxx"
		}
	}
	shown.RawQuery = strings.Join(pairs, "&")
	return shown.Redacted()
}

var secretName = regexp.MustCompile(`(?i)pass|secret|token|key|credential`)
