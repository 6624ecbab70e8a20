package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidings-dev/tidings/services/internal/program"

	auditservice "github.com/tidings-dev/tidings/services/audit/service"
	directoryservice "github.com/tidings-dev/tidings/services/directory/service"
	mailerservice "github.com/tidings-dev/tidings/services/mailer/service"
	usersservice "github.com/tidings-dev/tidings/services/users/service"
)

// programVar tells a child which program it is to be.
const programVar = "TIDINGS_SOAK_PROGRAM"

// Program runs one of the programs of a run, where this process was started to be one, and reports whether it was: a
// service, exactly as its own main does, or an embedded broker. Call it first of all in main or TestMain of the program
// that Config.Self names, and exit with code. So a run needs no programs built beside.
func Program() (code int, yes bool) {
	name := os.Getenv(programVar)
	mains := map[string]func(context.Context, program.IO) error{
		users: usersservice.Main, directory: directoryservice.Main, audit: auditservice.Main, mailer: mailerservice.Main,
	}
	switch {
	case name == "":
		return 0, false
	case name == brokerProgram:
		return serveEmbedded(), true
	case mains[name] == nil:
		fmt.Fprintf(os.Stderr, "%s=%s: there is no such program\n", programVar, name)
		return 2, true
	}
	return program.Main(program.OS(name), mains[name]), true
}

// Config says what a run is like.
type Config struct {
	Seed uint64
	// Length is how long there are faults. Starting, coming to rest and checking come on top: about half a minute with
	// a real cluster, and more after faults that the platform has to wait for.
	Length time.Duration
	// Self is the path of a program that calls [Program]: this one's, as a rule.
	Self string
	// Dir is a folder for data and logs, which stay. It must be set.
	Dir string
	// Jars is the folder with the packages of Apache Kafka: a cluster of three brokers is made of them. Empty is one
	// embedded broker.
	Jars string
	// Postgres is the URL of a server on which the run makes schemas of its own, and drops them; each service has two
	// replicas then. Empty is SQLite, and one.
	Postgres string
	// Events is in which versions users tells of a change, as its --events: "v1", "v2,v1" or "v2". Of "v2,v1" each change
	// has twins. Empty is the default of users, which is v1.
	Events string
	// Writers is how many there are; 0 is 8. There is one reader to two of them.
	Writers int
	// Out hears of the plan, of each step, and of the result.
	Out io.Writer
}

// Run brings up a platform, has it written to, read from and tormented, lets it come to rest, and checks it. It blocks
// for Length and some time more, and leaves no process behind. The error says why the run could not be made, or wraps
// [ErrViolated].
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Writers == 0 {
		cfg.Writers = 8
	}
	if err := cfg.checkEvents(); err != nil {
		return err
	}
	began := time.Now()
	r, err := newRig(ctx, cfg)
	defer func() { err = errors.Join(err, r.close()) }()
	if err != nil {
		return err
	}
	s := &run{rig: r, out: cfg.Out, times: times{start: time.Since(began)}}
	return s.run(ctx)
}

// checkEvents refuses at once what users would refuse each time that it is started.
func (c Config) checkEvents() error {
	if c.Events == "" {
		return nil
	}
	if err := usersservice.Events(c.Events).Check(); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	return nil
}

// apisOf are the versions that Config.Events means.
func apisOf(events string) []string { return strings.Split(cmp.Or(events, "v1"), ",") }

// ErrViolated is wrapped by the error of a run that has found a promise broken.
var ErrViolated = errors.New("soak: a promise was broken")

// run is one run on a platform that is up.
type run struct {
	*rig
	nemesis *nemesis
	times   times

	mu  sync.Mutex
	out io.Writer
}

// times are those that the phases took.
type times struct{ start, faults, rest, check time.Duration }

// tell prints a line.
func (s *run) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// run is the whole of a run: the plan, the torment, the examination.
func (s *run) run(ctx context.Context) error {
	plan := NewPlan(s.cfg.Seed, s.cfg.Length, s.targets())
	s.tell("the plan of seed %d, %v:\n%vwhat was done:", s.cfg.Seed, s.cfg.Length, plan)
	s.nemesis = &nemesis{rig: s.rig, tell: s.tell}
	began := time.Now()
	if err := s.torment(ctx, plan); err != nil {
		return err
	}
	s.times.faults = time.Since(began)
	found, err := s.examine(ctx)
	if err != nil {
		return err
	}
	if found.len() > 0 {
		return fmt.Errorf("%w: %d violations\n%v", ErrViolated, found.len(), found)
	}
	return nil
}

// torment has users written and read while the nemesis carries out its plan, and ends with everything healed.
func (s *run) torment(ctx context.Context, plan Plan) error {
	busy, stop := context.WithCancel(ctx)
	var doors, userReads, directoryReads []string
	for _, one := range s.of(users) {
		doors, userReads = append(doors, one.door), append(userReads, one.listen)
	}
	for _, one := range s.of(directory) {
		directoryReads = append(directoryReads, one.listen)
	}
	var g errgroup.Group
	for i := range s.cfg.Writers {
		w := newWriter(i, s.cfg.Seed, doors, s.ledger, 100*s.cfg.Writers)
		g.Go(func() error { w.run(busy); return nil })
		if i%2 == 0 {
			r := newReader(i, s.cfg.Seed, userReads, directoryReads, s.ledger)
			g.Go(func() error { return r.run(busy) })
		}
	}
	s.nemesis.run(ctx, plan)
	stop()
	return errors.Join(g.Wait(), s.heal(), ctx.Err())
}

// examine waits for quiet, checks, and prints the result.
func (s *run) examine(ctx context.Context) (*findings, error) {
	began := time.Now()
	unquiet := s.awaitServices(ctx)
	if unquiet == nil {
		unquiet = s.awaitQuiet(ctx)
	}
	s.times.rest = time.Since(began)
	began = time.Now()
	b, err := readBooks(ctx, s.dbs)
	if err != nil {
		return nil, err
	}
	counts, strangers := s.spoiler.told()
	mails, _ := s.mail.taken()
	t := &trial{books: b, writes: s.ledger.writes, reads: s.ledger.reads, mails: mails, excuses: s.nemesis.excuses(), strangers: strangers,
		apis: apisOf(s.cfg.Events)}
	found := check(t)
	if unquiet != nil {
		found.add(quiet, "%v", unquiet)
	}
	if err := s.ends(found); err != nil {
		return nil, err
	}
	s.times.check = time.Since(began)
	s.tell("%s", s.report(t, counts, found))
	return found, nil
}

// ends looks at how processes have ended by themselves, and for what no service should ever print.
func (s *run) ends(found *findings) error {
	for _, one := range s.services {
		_, ended := one.story()
		for _, how := range ended {
			if strings.HasPrefix(how, served) {
				found.add(alive, "%s ended by itself %s", one.name, how)
			}
		}
		text, err := os.ReadFile(one.log)
		if err != nil {
			return fmt.Errorf("soak: %w", err)
		}
		for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:", `"panic"`} {
			if strings.Contains(string(text), bad) {
				found.add(alive, "%s printed %q", one.name, bad)
			}
		}
	}
	return nil
}
