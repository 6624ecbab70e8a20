package lab

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
	"github.com/tidings-dev/tidings/services/tidings/internal/importer"
)

// measure is the experiment, on a stage that nothing has happened on.
func (s *stage) measure(ctx context.Context) (Outcome, error) {
	o := Outcome{Bus: s.id, KeepsLog: s.keepsLog}
	for _, step := range []func(context.Context, *Outcome) error{
		s.begin, s.writeWhileDown, s.restart, s.writeMore, s.newService,
	} {
		if err := step(ctx, &o); err != nil {
			return Outcome{}, s.explain(ctx, err)
		}
	}
	return o, nil
}

// printf has thousands apart.
func printf(format string, args ...any) string {
	return message.NewPrinter(language.English).Sprintf(format, args...)
}

// people of that number, in words.
func nUsers(n int) string {
	if n == 1 {
		return "1 user"
	}
	return printf("%d users", n)
}

// tell tells a step, with thousands apart.
func (s *stage) tell(format string, args ...any) { s.cfg.Step(s.name, printf(format, args...)) }

// begin starts the two services. The reader comes first, so that it hears the first number that the owner tells.
func (s *stage) begin(ctx context.Context, o *Outcome) error {
	s.doing = "users and directory were started"
	bus := s.platform.Report(ctx).Bus
	o.Embedded, o.URL = bus.Embedded, bus.URL
	if o.Embedded {
		s.tell("%s", o.Server())
	} else {
		s.tell("%s, topic %s", o.Server(), s.topic)
	}
	for _, name := range []string{reader, owner} {
		if err := s.platform.Start(ctx, name); err != nil {
			return err
		}
	}
	report, _, err := s.rest(ctx, s.directory)
	o.Guarantees = report.Bus.Guarantees
	return err
}

// writeWhileDown returns when everything is sent, for what is still in the owner's outbox at the restart would be
// heard by directory on any bus.
func (s *stage) writeWhileDown(ctx context.Context, o *Outcome) error {
	if err := s.platform.Stop(ctx, reader); err != nil {
		return err
	}
	s.tell("directory is stopped; writing %s", nUsers(s.cfg.Users))
	o.WhileDown = s.cfg.Users
	return s.write(ctx)
}

// restart starts directory again; the time that it takes to catch up counts from there.
func (s *stage) restart(ctx context.Context, o *Outcome) error {
	s.tell("starting directory")
	s.doing = "directory was started again"
	began := time.Now()
	if err := s.platform.Start(ctx, reader); err != nil {
		return err
	}
	s.tellOfNumber()
	_, status, err := s.rest(ctx, s.directory)
	if err != nil {
		return err
	}
	took := time.Since(began).Seconds() // without the asking, which is ours
	held, err := s.held(ctx, status.Address)
	if err != nil {
		return err
	}
	if held == s.written {
		o.CaughtUp = &took
		s.tell("it caught up in %.1f s", took)
	} else {
		s.tell("it lacks %d, and says that it missed %d", s.written-held, status.Missed)
	}
	return nil
}

// tellOfNumber says what a service that has just started waits for, where that takes a while.
func (s *stage) tellOfNumber() {
	if !s.keepsLog {
		s.tell("it waits until the owner, which is idle, repeats its highest number: 5 s at most")
	}
}

// writeMore shows that directory goes on as if nothing had been, and what is missing in the end.
func (s *stage) writeMore(ctx context.Context, o *Outcome) error {
	s.tell("writing %d more", s.cfg.Users)
	if err := s.write(ctx); err != nil {
		return err
	}
	_, status, err := s.rest(ctx, s.directory)
	if err != nil {
		return err
	}
	held, err := s.held(ctx, status.Address)
	o.Written, o.Missed, o.Counted = s.written, s.written-held, int(status.Missed)
	return err
}

// newService comes after everything was written, so what it receives it gets from the bus's memory alone.
func (s *stage) newService(ctx context.Context, o *Outcome) error {
	s.tell("starting a brand-new service with an empty database")
	s.doing = "a brand-new service was started"
	if err := s.startNewcomer(ctx); err != nil {
		return err
	}
	s.tellOfNumber()
	_, status, err := s.rest(ctx, s.newDirectory)
	if err != nil {
		return err
	}
	o.NewcomerReceived, err = s.held(ctx, status.Address)
	if err == nil {
		s.tell("it received %d", o.NewcomerReceived)
	}
	return err
}

// write writes Config.Users users through the write door, and returns once all of their events are sent.
func (s *stage) write(ctx context.Context) error {
	s.doing = nUsers(s.cfg.Users) + " were written"
	if s.cfg.Users == 1 {
		s.doing = "1 user was written"
	}
	door, _ := s.platform.Report(ctx).Service(owner)
	result, err := importer.Run(ctx, importer.Config{
		Door: "http://" + door.Door, Rows: people(s.written+1, s.cfg.Users),
		Progress: func(importer.Row) { s.cfg.Wrote(s.cfg.Users) },
	})
	if err != nil {
		return err
	}
	if result.Created != s.cfg.Users {
		return fmt.Errorf("of %s: %v", nUsers(s.cfg.Users), result)
	}
	s.written += s.cfg.Users // each of them answered with 201
	_, _, err = s.await(ctx, s.users, "it has events to send", func(_ control.Report, u lifecycle.Status) bool {
		return u.Outbox != nil && u.Outbox.Unsent == 0
	})
	return err
}
