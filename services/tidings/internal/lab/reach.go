package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
)

// askForTopic asks how a topic stands that nobody has made, which makes none.
func askForTopic(ctx context.Context, b bus.Bus, topic string) error {
	_, err := b.(bus.Inspector).Partitions(ctx, topic)
	return err
}

// sayToNobody publishes a heartbeat, which no handler takes for an event, where nobody listens.
func sayToNobody(ctx context.Context, b bus.Bus, topic string) error {
	e, err := bus.Heartbeat{Topic: topic, Source: "/lab", SeqLog: "lab"}.Event()
	if err != nil {
		return err
	}
	return b.Publish(ctx, topic, e)
}

// reach returns once the real server, if there is to be one, has answered: there is no use in an experiment on one bus
// whose other half can't follow. It gives up after Config.Patience, and at once where no waiting mends it.
func (k kind) reach(ctx context.Context, cfg Config) error {
	if k.real(cfg) == "" {
		return nil
	}
	cfg.Step(k.name, "asking the server at "+config.Redact(k.real(cfg)))
	topic := newTopic()
	if err := k.answers(ctx, cfg, topic); err != nil {
		return k.fault(cfg, topic, err)
	}
	return nil
}

// answers asks the server, and returns what was in the way.
func (k kind) answers(ctx context.Context, cfg Config, topic string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Patience)
	defer cancel()
	words := &lastWords{hears: func(err error) {
		if refused(err) || noTLS(k.real(cfg), err) {
			cancel()
		}
	}}
	b, err := backends.Open(ctx, k.real(cfg), slog.New(words))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	if err = k.ask(ctx, b, topic); err == nil {
		return nil
	}
	last, refusal := words.reason()
	var publish *bus.PublishError
	switch {
	case refusal != nil:
		return refusal
	case ctx.Err() != nil && last != nil: // of the waiting there is nothing to learn
		return last
	case errors.As(err, &publish):
		return publish.Unwrap()
	}
	return err
}

// fault says by the flag what is wrong with a server, for an error of one that was to be reached.
func (k kind) fault(cfg Config, topic string, err error) error {
	what := "does not answer as it should"
	switch {
	case noTLS(k.real(cfg), err):
		what = "does not answer in TLS; is it a port without?"
	case refused(err):
		what = "can't be used"
	case unreached(err):
		what = "does not answer; is it running?"
	case errors.Is(err, context.DeadlineExceeded):
		what = "does not answer"
	}
	return &serverError{flag: fmt.Sprintf("--%s %s", k.id, config.Redact(k.real(cfg))), what: what, topic: topic, err: err}
}

// serverError is of a server that is named by its flag.
type serverError struct {
	flag, what string
	topic      string // that was tried
	err        error
}

// Error names all topics of the lab in place of the one that was tried, for the next try has another: a right that
// somebody grants by what stands here is to last.
func (e *serverError) Error() string {
	return e.flag + " " + e.what + ": " + strings.ReplaceAll(e.err.Error(), e.topic, topics+"*")
}

// Unwrap returns why.
func (e *serverError) Unwrap() error { return e.err }

// unreached reports whether there is nobody at the address.
func unreached(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// noTLS reports whether somebody is at the address, and fails at the greeting. A Redis that has no TLS at that port
// waits for the end of what it takes for a command.
func noTLS(rawURL string, err error) bool {
	var plain tls.RecordHeaderError
	greeting := strings.HasPrefix(rawURL, "rediss:") && (errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded))
	return errors.As(err, &plain) || greeting && !unreached(err)
}

// askAgain bounds how long a server that has answered before may take to do so again.
const askAgain = 2 * time.Second

// explain says of an experiment that has come to a standstill, whether it is the server that has.
func (s *stage) explain(ctx context.Context, err error) error {
	var stuck *stuckError
	if s.real(s.cfg) == "" || !errors.As(err, &stuck) {
		return err
	}
	cfg := s.cfg
	cfg.Patience = min(cfg.Patience, askAgain)
	why := s.answers(ctx, cfg, s.topic)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case why == nil:
		return err
	case refused(why):
		return s.fault(cfg, s.topic, why)
	}
	return fmt.Errorf("--%s %s stopped answering while %s: %w", s.id, config.Redact(s.real(cfg)), s.doing, why)
}

// refused reports whether err is a server's no, or of the way to it, that no waiting changes.
func refused(err error) bool {
	var reply goredis.Error
	if errors.As(err, &reply) {
		code, _, _ := strings.Cut(reply.Error(), " ")
		return slices.Contains([]string{"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"}, code)
	}
	var plain tls.RecordHeaderError
	var alert tls.AlertError
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &plain) || errors.As(err, &alert) || errors.As(err, &untrusted) {
		return true
	}
	return slices.ContainsFunc([]error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState,
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	}, func(no error) bool { return errors.Is(err, no) })
}
