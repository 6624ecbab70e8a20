package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/mailer/internal/submission"
)

// SMTP is a [Sender] that hands each mail to a mail server. It is safe for concurrent use.
type SMTP struct {
	client      *submission.Client
	connections int
}

// NewSMTP makes a sender to the server that [submission.Parse] has read from an address. It connects when there is a
// mail. Unless Run runs, connections stay open.
func NewSMTP(server submission.Settings, log *slog.Logger) *SMTP {
	return &SMTP{client: submission.New(server, log), connections: server.Connections}
}

// Run closes connections that are no longer used, until ctx ends: see [submission.Client.Run].
func (s *SMTP) Run(ctx context.Context) error { return s.client.Run(ctx) }

// atOnce is how many mails may be sent at once: as many as there are connections, for one that waits for its turn uses
// up its time, and is then repeated by mistake. 0, where it doesn't matter, is the inbox's default.
func atOnce(s Sender) int {
	if server, ok := s.(*SMTP); ok {
		return server.connections
	}
	return 0
}

// Send hands the mail over. Nil says that the server has taken it for good. A refusal of this recipient or this mail,
// and addresses that are none, are permanent; all else is worth another try, whatever the server's code, if it is about
// who sends: see package submission.
func (s *SMTP) Send(ctx context.Context, m Mail) error {
	text, err := compose(m)
	if err != nil {
		return bus.Permanent(fmt.Errorf("mail %s: %w", m.ID, err))
	}
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return fmt.Errorf("mail %s: from %.64q: %w", m.ID, m.From, err)
	}
	return s.client.Send(ctx, submission.Mail{From: from.Address, To: m.To, Text: text})
}

// checkSMTP finds what is wrong with --smtp beside what goes with it.
func (c *Config) checkSMTP() error {
	if c.SMTP == "" {
		return nil
	}
	var faults []error
	if c.Mailbox != "" {
		faults = append(faults, errors.New("--mailbox and --smtp exclude one another; pass one of them (TIDINGS_MAILBOX and TIDINGS_SMTP count too)"))
	}
	if _, err := submission.Parse(c.SMTP); err != nil {
		faults = append(faults, fmt.Errorf("--smtp: %w", err))
	}
	if from, err := mail.ParseAddress(c.MailFrom); err == nil && !isASCII(from.Address) {
		faults = append(faults, fmt.Errorf("--mail-from %q: not every server takes an address beyond ASCII; pass one that all take", c.MailFrom))
	}
	return errors.Join(faults...)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 127 {
			return false
		}
	}
	return true
}
