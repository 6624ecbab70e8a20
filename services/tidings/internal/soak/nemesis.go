package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
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

// step is one fault, from its beginning to its end.
func (n *nemesis) step(ctx context.Context, s Step, began time.Time) {
	d := done{Step: s, Begun: time.Now()}
	undo, err := n.befall(ctx, s)
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
