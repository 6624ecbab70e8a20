package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// targets is what each fault can befall here.
func (r *rig) targets() Targets {
	t := Targets{Repeat: {r.topic}, SpoilRecords: {r.topic}, RefuseMails: {"mail server"}}
	for _, s := range r.services {
		t[Kill] = append(t[Kill], s.name)
		t[Stop] = append(t[Stop], s.name)
		t[Pause] = append(t[Pause], s.name)
		if r.cfg.Postgres != "" {
			t[EndSessions] = append(t[EndSessions], s.name)
			t[Cut] = append(t[Cut], s.name+"~postgres")
		}
		if s.kind == mailer {
			t[Cut] = append(t[Cut], s.name+"~smtp")
		}
		if r.cfg.Jars != "" {
			t[Cut] = append(t[Cut], s.name+"~kafka")
			for _, b := range r.brokers.all {
				t[Cut] = append(t[Cut], s.name+"~"+b.name)
			}
		}
	}
	t[Slow], t[Silence] = t[Cut], t[Cut]
	t[Lock] = kinds[:]
	all := r.brokers.all
	for i, b := range all {
		t[KillBroker] = append(t[KillBroker], b.name)
		t[PauseBroker] = append(t[PauseBroker], b.name)
		for _, other := range all[i+1:] {
			t[KillBrokers] = append(t[KillBrokers], b.name+"+"+other.name)
		}
	}
	return t
}

// done is a step as it was carried out.
type done struct {
	Step
	Begun, Ended time.Time
	Err          error
}

// nemesis carries out a plan. What it has begun it also ends, even if the run is ended early.
type nemesis struct {
	*rig
	tell func(format string, args ...any)

	turn sync.Mutex // of the one broker fault at a time

	mu   sync.Mutex
	done []done
}

// run returns when all steps are over.
func (n *nemesis) run(ctx context.Context, plan Plan) {
	var all sync.WaitGroup
	began := time.Now()
	for _, s := range plan {
		rest(ctx, time.Until(began.Add(s.At)))
		if ctx.Err() != nil {
			break
		}
		all.Go(func() { n.step(ctx, s, began) })
	}
	all.Wait()
}

// wholeTime is how long the next fault of a broker waits for what the one before has left behind. On a busy machine a
// broker may take half a minute to start: faults on top of that would only show that a cluster without brokers stands
// still. What is not whole by then is spared.
const wholeTime = 8 * time.Second

// errSpared is the error of a step that was not carried out.
var errSpared = errors.New("passed over, the brokers have not recovered yet")

// wait lets the faults of brokers befall them one at a time, and only when all of them are there and have everything.
func (n *nemesis) wait(ctx context.Context, s Step) (over func(), err error) {
	if s.Fault != KillBroker && s.Fault != KillBrokers && s.Fault != PauseBroker {
		return func() {}, nil
	}
	n.turn.Lock()
	if err := until(ctx, wholeTime, n.brokersWhole); err != nil {
		return n.turn.Unlock, fmt.Errorf("%w: %w", errSpared, err)
	}
	return n.turn.Unlock, nil
}

// brokersWhole returns an error unless all brokers are there, and have every partition of the topic.
func (r *rig) brokersWhole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cluster, err := kadm.NewClient(r.client).Metadata(ctx, r.topic)
	if err != nil {
		return err
	}
	if n := len(cluster.Brokers); n != len(r.brokers.all) {
		return fmt.Errorf("%d of %d brokers are there", n, len(r.brokers.all))
	}
	for _, p := range cluster.Topics[r.topic].Partitions {
		if p.Err != nil || len(p.ISR) != len(p.Replicas) {
			return fmt.Errorf("partition %d is on %d of %d brokers (%v)", p.Partition, len(p.ISR), len(p.Replicas), p.Err)
		}
	}
	return nil
}

// step is one fault, from its beginning to its end.
func (n *nemesis) step(ctx context.Context, s Step, began time.Time) {
	over, err := n.wait(ctx, s)
	defer over()
	d := done{Step: s, Begun: time.Now()}
	var undo func() error
	if err == nil {
		undo, err = n.befall(ctx, s)
	}
	if err == nil && undo != nil {
		rest(ctx, s.For)
		err = undo()
	}
	d.Ended, d.Err = time.Now(), err
	n.mu.Lock()
	defer n.mu.Unlock()
	n.done = append(n.done, d)
	note := ""
	if err != nil {
		note = ": " + err.Error()
	}
	n.tell("%6.1fs  %-13s  %s until %.1fs%s", d.Begun.Sub(began).Seconds(), s.Fault, s.Target, d.Ended.Sub(began).Seconds(), note)
}

// befall begins a fault, and returns how it is ended; nil where it is over at once.
func (n *nemesis) befall(ctx context.Context, s Step) (undo func() error, err error) {
	switch s.Fault {
	case Kill, KillBroker, KillBrokers:
		return n.end(s.Target, syscall.SIGKILL)
	case Stop:
		return n.end(s.Target, syscall.SIGTERM)
	case Pause, PauseBroker:
		p := n.process(s.Target)
		return func() error { return p.signal(syscall.SIGCONT) }, p.signal(syscall.SIGSTOP)
	case Cut, Slow, Silence:
		return n.breakLinks(s.Target, map[Fault]mode{Cut: broken, Slow: slowed, Silence: silent}[s.Fault]), nil
	case Lock:
		return n.dbs[s.Target].lock(ctx)
	case EndSessions:
		const text = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`
		_, err := n.dbs[users].ExecContext(ctx, text, n.application(s.Target))
		return nil, err
	case RefuseMails:
		n.mail.refuse(true)
		return func() error { n.mail.refuse(false); return nil }, nil
	case Repeat:
		return nil, n.spoiler.repeat(ctx)
	case SpoilRecords:
		return nil, n.spoiler.spoil(ctx)
	}
	return nil, fmt.Errorf("soak: %q is no fault", s.Fault)
}

// end ends processes, whose names stand between pluses, and starts them again.
func (n *nemesis) end(target string, sig syscall.Signal) (undo func() error, err error) {
	var all []*process
	for name := range strings.SplitSeq(target, "+") {
		all = append(all, n.process(name))
	}
	faults := make([]error, len(all))
	var both sync.WaitGroup
	for i, p := range all {
		both.Go(func() { faults[i] = p.down(sig) })
	}
	both.Wait()
	undo = func() error {
		var faults []error
		for _, p := range all {
			faults = append(faults, p.up())
		}
		return errors.Join(faults...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, errors.Join(err, undo())
	}
	return undo, nil
}

// breakLinks sets the mode of a link, or of a group.
func (n *nemesis) breakLinks(name string, m mode) (undo func() error) {
	for _, k := range n.links[name] {
		k.set(m)
	}
	return func() error {
		for _, k := range n.links[name] {
			k.set(whole)
		}
		return nil
	}
}

// process is a service or a broker, by its name.
func (r *rig) process(name string) *process {
	for _, s := range r.services {
		if s.name == name {
			return s.process
		}
	}
	for _, b := range r.brokers.all {
		if b.name == name {
			return b
		}
	}
	return nil
}

// heal ends every trouble that there may be.
func (r *rig) heal() error {
	var faults []error
	for _, group := range r.links {
		for _, k := range group {
			k.set(whole)
		}
	}
	r.mail.refuse(false)
	var all []*process
	all = append(all, r.brokers.all...)
	for _, s := range r.services {
		all = append(all, s.process)
	}
	for _, p := range all {
		faults = append(faults, p.signal(syscall.SIGCONT), p.up())
	}
	return errors.Join(faults...)
}

// slack is how long a mailer may take, on a busy machine, to write down that a mail was taken.
const slack = 2 * time.Second

// excuses are the times at which a mail could be sent without the mailer's getting to write that down: a fault befell
// this replica, its way to the mail server, or its database. A stop in order excuses nothing. Cut off, or paused, a
// mailer notices only in time.
func (n *nemesis) excuses() []excuse {
	var all []excuse
	for _, d := range n.done {
		by, link, _ := strings.Cut(d.Target, "~")
		if !strings.HasPrefix(by, mailer) || strings.HasPrefix(link, "kafka") || d.Fault == Stop {
			continue
		}
		e := excuse{fault: d.Fault, from: d.Begun.Add(-slack), to: d.Ended.Add(slack)}
		if by != mailer { // else it is the database, of all replicas
			e.by = by
		}
		if link != "" {
			e.to = d.Ended.Add(2 * mailTime)
		}
		all = append(all, e)
	}
	return all
}
