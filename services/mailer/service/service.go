package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tidings-dev/tidings/bus/inbox"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/mailer/internal/store"
	"github.com/tidings-dev/tidings/services/mailer/internal/submission"
)

// DefaultListen is where gRPC is served unless told otherwise.
const DefaultListen = "127.0.0.1:8484"

// group is who reads, as its database knows it.
const group = "mailer"

// Config is what the mailer is told, by flags or by `tidings up`.
type Config struct {
	config.Common
	Mailbox string `help:"Folder that mails are written to, a file each. The default is mailbox, beside the file of the database; on Postgres there is none." placeholder:"DIR"`
	SMTP    string `name:"smtp" help:"Mail server that mails are handed to, instead of a folder: smtp://user@host:587 (STARTTLS) or smtps://user@host:465. The password comes from $$TIDINGS_SMTP_PASSWORD or ?password.file=PATH. Other parameters: tls, ca.file, helo, timeout, connections." placeholder:"URL"`
	// Folder is where mails are written to where neither Mailbox nor SMTP is set, instead of beside the database: for
	// whoever starts the mailer from another program.
	Folder     string        `kong:"-"`
	MailFrom   string        `help:"Who the mails are from." default:"Tidings <welcome@tidings.example>" placeholder:"ADDRESS"`
	MailMaxAge time.Duration `help:"Events older than this mail nobody and are recorded as skipped; 0 is any age." default:"24h"`
}

// Validate is called by the parser.
func (c *Config) Validate() error {
	var faults []error
	if !canSend(c.MailFrom) {
		faults = append(faults, fmt.Errorf("--mail-from %q is not an address; pass one such as \"Tidings <welcome@example.org>\"", c.MailFrom))
	}
	if c.MailMaxAge < 0 {
		faults = append(faults, fmt.Errorf("--mail-max-age %v: pass a time above 0, such as 24h, or 0 for any age", c.MailMaxAge))
	}
	return errors.Join(append(faults, c.checkMailbox(), c.checkSMTP())...)
}

// checkMailbox refuses to guess where mails go: a database on a server has no folder beside it.
func (c *Config) checkMailbox() error {
	if c.Mailbox != "" || c.SMTP != "" || c.Folder != "" || database.DialectOf(c.DB) != database.Postgres {
		return nil
	}
	return errors.New("on Postgres there is no folder beside the database to write mails to; " +
		"pass --mailbox DIR, or --smtp URL for a mail server (TIDINGS_MAILBOX and TIDINGS_SMTP do too)")
}

// Main runs the mailer as a program of its own.
func Main(ctx context.Context, in program.IO) error {
	var cfg Config
	d := config.Defaults{
		Service: "mailer", Listen: DefaultListen,
		Description: "Welcomes new users by mail, and answers which mail was sent to whom.",
	}
	return lifecycle.Main(ctx, in, d, &cfg, backends.Open, func(env lifecycle.Env) lifecycle.Service { return New(cfg, env) })
}

// New makes the mailer; `tidings up` does so too, with a Config that it fills in.
func New(cfg Config, env lifecycle.Env) *lifecycle.Runner {
	return lifecycle.New(lifecycle.Spec{
		Name: "mailer", API: mailerv1.MailerService_ServiceDesc.ServiceName,
		Config: cfg.Common, Migrations: store.Migrations,
		Build:   func(_ context.Context, p *lifecycle.Parts) error { return build(cfg, p) },
		Unheard: "it is counted, and where it told of a new user, that user gets no mail",
	}, env)
}

// attempts is how often a mail is tried: for about a day, as the longest wait between two is ten minutes. A mail server
// may be away for a night, or have something against us until somebody comes to work; no mail is to die of that.
const attempts = 160

// build puts the service together; nothing of it waits for the broker, or for the mail server.
func build(cfg Config, p *lifecycle.Parts) error {
	sender, timeout, err := newSender(cfg, p)
	if err != nil {
		return err
	}
	st := store.New(p.DB.DB)
	in, err := inbox.New(inbox.Config{
		Group: group, Topics: []string{cfg.Topic}, Sources: []string{usersSource}, DB: p.DB.DB, MaxAge: cfg.MailMaxAge,
		Attempts: attempts, Timeout: timeout, Workers: atOnce(sender),
		Logger: p.Log, OnReady: p.GRPC.SetBus, OnGap: p.OnGap,
	}, routes(st, sender, cfg.MailFrom)...)
	if err != nil {
		return err
	}
	mailerv1.RegisterMailerServiceServer(p.GRPC, &server{store: st})
	p.Consume(in)
	p.OnStatus(func(ctx context.Context, s *lifecycle.Status) (err error) {
		s.Count, err = st.Estimate(ctx, store.Filter{})
		return err
	})
	return nil
}

// newSender makes what mails go through, and says how long one may take; 0 is the inbox's default.
func newSender(cfg Config, p *lifecycle.Parts) (Sender, time.Duration, error) {
	if err := cfg.checkMailbox(); err != nil {
		return nil, 0, err
	}
	if cfg.SMTP == "" {
		sender, err := newMailbox(cfg, p.DB.Name())
		return sender, 0, err
	}
	settings, err := submission.Parse(cfg.SMTP)
	if err != nil {
		return nil, 0, fmt.Errorf("--smtp: %w", err)
	}
	p.Log.Info("mails go to a mail server", "smtp", settings)
	sender := NewSMTP(settings, p.Log)
	p.Go("smtp", sender.Run) // named before the inbox, and so told to stop after it
	return sender, settings.Timeout, nil
}

func newMailbox(cfg Config, db string) (*Mailbox, error) {
	box, err := NewMailbox(cmp.Or(cfg.Mailbox, cfg.Folder, filepath.Join(filepath.Dir(db), "mailbox")))
	if err != nil {
		return nil, fmt.Errorf("--mailbox: %w", err)
	}
	return box, nil
}
