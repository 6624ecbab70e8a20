package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// A consumer under test is handed the Recorder as its bus. Drain waits until it has handled what was published, here
// through an outage.
func ExampleRecorder() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r := bustest.NewRecorder()
	r.SetDown(true)

	running, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		s := bus.Subscription{Group: "greeter", Topics: []string{"arrivals"}}
		ended <- r.Subscribe(running, s, func(ctx context.Context, d bus.Delivery) error {
			for _, e := range d.Events {
				greeting, err := bus.NewEvent("/greetings", e.Key, e.Version, wrapperspb.String("welcome, "+e.Key))
				if err != nil {
					return err
				}
				if err := r.Publish(ctx, "greetings", greeting); err != nil {
					return err
				}
			}
			return nil
		})
	}()

	r.SetDown(false)
	arrival, err := bus.NewEvent("/arrivals", "ada", 1, wrapperspb.String("ada"))
	if err := errors.Join(err, r.Publish(ctx, "arrivals", arrival), r.Drain(ctx, "greeter", "arrivals")); err != nil {
		log.Fatal(err)
	}
	for _, m := range bustest.Messages[*wrapperspb.StringValue](r, "greetings") {
		fmt.Println(m.GetValue())
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// welcome, ada
	// <nil>
}

// account is a handler under test: each purchase is worth 10 points, once. As in a database, the mark that says what is
// done changes together with what was done.
type account struct {
	mark   map[string]uint64 // by customer: the last version done
	points map[string]int
}

func (a *account) handle(_ context.Context, d bus.Delivery) error {
	for _, e := range d.Events {
		if e.Version <= a.mark[e.Key] {
			continue // done before; without this line customers grow rich
		}
		a.mark[e.Key] = e.Version
		a.points[e.Key] += 10
	}
	return nil
}

// Is a handler idempotent? It is run on a bus that does all that a bus may do: events are stored twice and delivered
// twice, deliveries fail after the handler has done them, and come in another order across keys. The seed repeats
// what went wrong.
func ExampleFaults() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r := bustest.NewRecorder()
	b := bustest.Faults{Seed: 1, RepeatPublish: 0.2, RepeatDelivery: 0.2, FailAfter: 0.2, Reorder: 0.5}.Wrap(r)

	a := &account{mark: make(map[string]uint64), points: make(map[string]int)}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		ended <- b.Subscribe(running, bus.Subscription{Group: "accounts", Topics: []string{"purchases"}}, a.handle)
	}()
	for version := range uint64(20) {
		for _, customer := range []string{"ada", "bob"} {
			e, err := bus.NewEvent("/shop", customer, version+1, wrapperspb.Int64(995))
			if err := errors.Join(err, b.Publish(ctx, "purchases", e)); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := r.Drain(ctx, "accounts", "purchases"); err != nil {
		log.Fatal(err)
	}
	stop()
	fmt.Println("subscription:", <-ended)
	fmt.Println("points:", a.points["ada"], a.points["bob"])
	fmt.Println("stored, of 40 purchases:", len(r.Published("purchases")))
	// Output:
	// subscription: <nil>
	// points: 200 200
	// stored, of 40 purchases: 48
}
