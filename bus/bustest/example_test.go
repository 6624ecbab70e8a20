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
