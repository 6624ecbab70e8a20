package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// A program passes the backends that it can be pointed at; a flag says which one it is. Here it is the one for
// tests; kafka.Backend() stands in its place otherwise.
func ExampleOpen() {
	ctx, cancel := context.WithCancel(context.Background())
	b, err := bus.Open(ctx, "recorder://memory", bustest.NewRecorder().Backend())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("guarantees:", b.Guarantees())

	e, err := bus.NewEvent("/greetings", "world", 1, wrapperspb.String("hello"))
	if err != nil {
		log.Fatal(err)
	}
	if err := b.Publish(ctx, "greetings", e); err != nil {
		log.Fatal(err)
	}

	s := bus.Subscription{Group: "readers", Topics: []string{"greetings"}, Require: bus.Guarantees{OrderedByKey: true}}
	err = b.Subscribe(ctx, s, func(_ context.Context, d bus.Delivery) error {
		for _, e := range d.Events {
			m, err := bus.Decode[*wrapperspb.StringValue](e)
			if err != nil {
				return err
			}
			fmt.Printf("%s, %s (version %d)\n", m.GetValue(), e.Key, e.Version)
		}
		cancel() // a service ends this way too: its context ends, and Subscribe returns nil
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := b.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// guarantees: durable, replayable, groups, ordered by key
	// hello, world (version 1)
}

// An address that can't be right is refused before anything is dialled.
func ExampleParseParams() {
	_, err := bus.Open(context.Background(), "kafka://h:9092?ack=1", fakeKafka(nil))
	fmt.Println(err)
	// Output:
	// bus: kafka://h:9092?ack=1: unknown parameter "ack"; did you mean "acks"?
}

// A call that failed says by index which events were not acknowledged. They are published again, from the first
// one of each key on.
func ExamplePublishError() {
	r := bustest.NewRecorder()
	r.FailPublish(func(_ string, e bus.Event) error {
		if e.Key == "b" {
			return errors.New("the partition has no leader")
		}
		return nil
	})
	var events []bus.Event
	for i, key := range []string{"a", "b", "a"} {
		e, err := bus.NewEvent("/letters", key, uint64(i+1), wrapperspb.Int64(int64(i)))
		if err != nil {
			log.Fatal(err)
		}
		events = append(events, e)
	}
	err := r.Publish(context.Background(), "letters", events...)
	var failed *bus.PublishError
	if errors.As(err, &failed) {
		for i := range events {
			fmt.Println(events[i].Key, failed.Failed[i])
		}
	}
	// Output:
	// a <nil>
	// b the partition has no leader
	// a <nil>
}
