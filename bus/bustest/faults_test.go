package bustest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// faulty breaks one promise of the bus that it wraps.
type faulty struct {
	bus.Bus
	publish    func(ctx context.Context, topic string, events []bus.Event) error
	subscribe  func(ctx context.Context, s bus.Subscription, h bus.Handler) error
	partitions func(parts []bus.Partition)
	patient    bool // whoever asks for partitions waits for ever
	close      func(ctx context.Context) error
}

func (f *faulty) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	if f.publish != nil {
		return f.publish(ctx, topic, events)
	}
	return f.Bus.Publish(ctx, topic, events...)
}

func (f *faulty) Subscribe(ctx context.Context, s bus.Subscription, h bus.Handler) error {
	if f.subscribe != nil {
		return f.subscribe(ctx, s, h)
	}
	return f.Bus.Subscribe(ctx, s, h)
}

func (f *faulty) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	if f.patient {
		ctx = context.WithoutCancel(ctx)
	}
	parts, err := f.Bus.(bus.Inspector).Partitions(ctx, topics...)
	if f.partitions != nil {
		f.partitions(parts)
	}
	return parts, err
}

func (f *faulty) Close(ctx context.Context) error {
	if f.close != nil {
		return f.close(ctx)
	}
	return f.Bus.Close(ctx)
}

// handling breaks what handlers are given or what they say.
func handling(bend func(ctx context.Context, d bus.Delivery, h bus.Handler) error) func(*faulty) {
	return func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			return f.Bus.Subscribe(ctx, s, func(ctx context.Context, d bus.Delivery) error { return bend(ctx, d, h) })
		}
	}
}

// subscribing breaks what the backend is asked for.
func subscribing(bend func(s *bus.Subscription)) func(*faulty) {
	return func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			bend(&s)
			return f.Bus.Subscribe(ctx, s, h)
		}
	}
}

// fault is a promise broken, and the test of the suite that has to notice.
type fault struct {
	name, noticedBy string
	bend            func(f *faulty)
}

// faults bend the Recorder.
var faults = []fault{
	{"an event in a hundred is lost", "events of a key arrive in order", func(f *faulty) {
		var n atomic.Int64
		handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
			d.Events = slices.DeleteFunc(d.Events, func(bus.Event) bool { return n.Add(1)%100 == 0 })
			return h(ctx, d)
		})(f)
	}},
	{"events arrive backwards", "events of a key arrive in order", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		slices.Reverse(d.Events)
		return h(ctx, d)
	})},
	{"a key is handled twice at once", "events of a key arrive in order", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		var twice sync.WaitGroup
		var errs [2]error
		for i := range errs {
			twice.Go(func() { errs[i] = h(ctx, d) })
		}
		twice.Wait()
		return errors.Join(errs[:]...)
	})},
	{"what failed counts as done", "a delivery that failed comes again", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		_ = h(ctx, d)
		return nil
	})},
	{"what was cut short counts as done", "nothing advances before the handler returns", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		if err := h(ctx, d); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})},
	{"a permanent error is not", "a permanent error ends the subscription", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		if err := h(ctx, d); !bus.IsPermanent(err) {
			return err
		}
		return nil
	})},
	{"the delay that was asked for is not heeded", "a delivery comes again after the delay that was asked for", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		if err := h(ctx, d); err != nil {
			return bus.RetryAfter(0, err)
		}
		return nil
	})},
	{"data is bent", "events arrive as they were published", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		for i := range d.Events {
			d.Events[i].Data = bytes.ToValidUTF8(d.Events[i].Data, nil)
		}
		return h(ctx, d)
	})},
	{"extensions are lost", "events arrive as they were published", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		for i := range d.Events {
			d.Events[i].Ext = nil
		}
		return h(ctx, d)
	})},
	{"events are told from the wrong place", "ranges cover the log without a gap", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		for i := range d.Events {
			d.Events[i].At.Offset++
		}
		return h(ctx, d)
	})},
	{"ranges leave something out", "ranges cover the log without a gap", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		for i := range d.Ranges {
			d.Ranges[i].Next--
		}
		return h(ctx, d)
	})},
	{"MaxBatch is not heeded", "a delivery holds at most MaxBatch events", subscribing(func(s *bus.Subscription) { s.MaxBatch = 2000 })},
	{"every start is the earliest", "a new group starts behind the latest event", subscribing(func(s *bus.Subscription) { s.Start = bus.Earliest() })},
	{"a time to start at is rounded", "a new group starts with the first event since a time", subscribing(func(s *bus.Subscription) {
		if at, ok := s.Start.Time(); ok {
			s.Start = bus.Since(at.Truncate(time.Hour))
		}
	})},
	{"resume is not asked", "resume is asked for every partition and obeyed", subscribing(func(s *bus.Subscription) { s.Resume = nil })},
	{"resume is not asked about all", "resume is asked for every partition and obeyed", subscribing(func(s *bus.Subscription) {
		if resume := s.Resume; resume != nil {
			s.Resume = func(ctx context.Context, parts []bus.Partition) ([]int64, error) {
				next, err := resume(ctx, parts[:1])
				for _, p := range parts[1:] {
					next = append(next, p.Offset)
				}
				return next, err
			}
		}
	})},
	{"reread is taken for done", "reread asks resume again, for what it names", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		err := h(ctx, d)
		if _, reread := bus.RereadPositions(err); reread {
			return nil
		}
		return err
	})},
	{"there is one group for all", "each group gets every event", subscribing(func(s *bus.Subscription) { s.Group = "all of us" })},
	{"no two members are in a group", "members of a group share the work", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			s.Group += time.Now().String()
			return f.Bus.Subscribe(ctx, s, h)
		}
	}},
	{"the broker forgets where a group was", "events wait for a consumer that is down", func(f *faulty) {
		subscribing(func(s *bus.Subscription) {
			s.Group, s.Start = s.Group+time.Now().String(), bus.Latest()
		})(f)
	}},
	{"topics run into one another", "events of other topics don't arrive", subscribing(func(s *bus.Subscription) {
		s.Topics = append(s.Topics, lastTopic.Swap(s.Topics[0]).(string))
	})},
	{"readiness comes before the start is fixed", "a new group starts behind the latest event", func(f *faulty) {
		f.subscribe = func(ctx context.Context, s bus.Subscription, h bus.Handler) error {
			s.OnReady(true)
			select { // as long as a broker may take
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			return f.Bus.Subscribe(ctx, s, h)
		}
	}},
	{"the end of a subscription isn't told", "readiness is told when it changes", subscribing(func(s *bus.Subscription) {
		tell := s.OnReady
		s.OnReady = func(ready bool) {
			if ready {
				tell(true)
			}
		}
	})},
	{"a subscription doesn't wait for its handler", "a subscription that ends cancels its handler and waits for it", func(f *faulty) {
		handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
			answer := make(chan error, 1)
			go func() { answer <- h(context.WithoutCancel(ctx), d) }()
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})(f)
	}},
	{"a goroutine is left behind", "a bus that is closed leaves no goroutine", func(f *faulty) {
		f.close = func(ctx context.Context) error {
			go func() { select {} }()
			return f.Bus.Close(ctx)
		}
	}},
	{"a closed bus goes on", "close waits for nothing and refuses what comes after", func(f *faulty) {
		f.close = func(context.Context) error { return nil }
	}},
	{"a cancelled context is not heeded", "publish with a cancelled context says so", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			return f.Bus.Publish(context.WithoutCancel(ctx), topic, events...)
		}
	}},
	{"where events were stored isn't told", "publish fills in where each event was stored", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			return f.Bus.Publish(ctx, topic, slices.Clone(events)...)
		}
	}},
	{"publishing doesn't wait for the broker", "publishing waits for a broker that is away", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			return f.Bus.Publish(ctx, topic, events...)
		}
	}},
	{"the log's end is told wrong", "partitions say where the log stands", func(f *faulty) {
		f.partitions = func(parts []bus.Partition) {
			for i := range parts {
				parts[i].Next++
			}
		}
	}},
}

// lastTopic is the topic that was subscribed to last, for the fault that mixes topics up.
var lastTopic = func() *atomic.Value { v := &atomic.Value{}; v.Store("none"); return v }()

const faultVar = "BUSTEST_FAULT"

// verdict is what a process said that ran one test of the suite with one fault.
type verdict struct {
	out string
	err error
}

// A suite that passes whatever it is given shows nothing. Each fault runs in a process of its own, for it is to fail.
func TestTheSuiteNoticesFaults(t *testing.T) {
	if name := os.Getenv(faultVar); name != "" {
		runWithFault(t, name)
		return
	}
	faults := slices.Concat(faults, faultsUnderLoad, faultsOfWrapper, faultsWithoutLog)
	verdicts := make([]verdict, len(faults))
	var processes errgroup.Group
	processes.SetLimit(8) // most of them wait in vain for something
	for i, f := range faults {
		processes.Go(func() error {
			verdicts[i] = runAlone(t, "^TestTheSuiteNoticesFaults$/^"+underscored(f.noticedBy)+"$", f.name)
			return nil
		})
	}
	_ = processes.Wait() // they report by verdict
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			v := verdicts[i]
			var exit *exec.ExitError
			if !errors.As(v.err, &exit) || !strings.Contains(v.out, "--- FAIL: TestTheSuiteNoticesFaults/"+underscored(f.noticedBy)) {
				t.Errorf("%q doesn't notice: %v\n%s", f.noticedBy, v.err, v.out)
			}
			if strings.Contains(v.out, "panic:") {
				t.Errorf("it notices by a panic:\n%s", v.out)
			}
		})
	}
}

func underscored(name string) string { return strings.ReplaceAll(name, " ", "_") }

// runAlone runs tests of this binary in a process that has the fault.
func runAlone(t *testing.T, tests, fault string) verdict {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", tests, "-test.v", "-test.timeout", "1m")
	cmd.Env = append(os.Environ(), faultVar+"="+fault)
	out, err := cmd.CombinedOutput()
	return verdict{string(out), err}
}

func runWithFault(t *testing.T, name string) {
	named := func(f fault) bool { return f.name == name }
	if i := slices.IndexFunc(faultsWithoutLog, named); i >= 0 {
		runBent(t, embeddedRedisHarness(t), faultsWithoutLog[i])
		return
	}
	all := slices.Concat(faults, faultsUnderLoad, faultsOfWrapper)
	runBent(t, recorderHarness(), all[slices.IndexFunc(all, named)])
}

// runBent runs the suite on what h opens, with a fault put around it.
func runBent(t *testing.T, h bustest.Harness, bent fault) {
	wrap := func(b bus.Bus) bus.Bus {
		f := &faulty{Bus: b}
		bent.bend(f)
		return f
	}
	open, openImpatient := h.Open, h.OpenImpatient
	h.Open = func(t *testing.T, opts ...bus.Option) bus.Bus { return wrap(open(t, opts...)) }
	h.OpenImpatient = func(t *testing.T, opts ...bus.Option) (bus.Bus, time.Duration) {
		b, limit := openImpatient(t, opts...)
		return wrap(b), limit
	}
	h.Timeout = 2 * time.Second
	bustest.Run(t, h)
}

// A backend that claims what it can't do, and a harness that leaves abilities out.
func TestTheSuiteNoticesClaims(t *testing.T) {
	if os.Getenv(faultVar) != "" {
		r := bustest.NewRecorder()
		bustest.Run(t, bustest.Harness{
			Open:       func(t *testing.T, opts ...bus.Option) bus.Bus { return bus.Wrap(r, opts...) },
			Guarantees: bus.Guarantees{Durable: true},
			Timeout:    2 * time.Second, // it waits in vain for the error
		})
		return
	}
	v := runAlone(t, "^TestTheSuiteNoticesClaims$/^what_the_backend_lacks_is_refused$", "claims")
	if v.err == nil || !strings.Contains(v.out, "want a *GuaranteeError") {
		t.Errorf("a guarantee that isn't kept was not noticed: %v\n%s", v.err, v.out)
	}
	if !strings.Contains(v.out, "left out, for the backend or its harness has no such ability: publish fills in") {
		t.Errorf("what is left out isn't told:\n%s", v.out)
	}
}
