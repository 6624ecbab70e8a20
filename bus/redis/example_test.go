package redis_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/redis"
)

// An event that nobody hears is lost. One that is published while somebody listens arrives.
func ExampleBackend() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.StartRedis(ctx, embedded.RedisConfig{Addr: "127.0.0.1:0"}) // in production: a real one
	if err != nil {
		panic(err)
	}
	defer server.Close(context.Background())
	b, err := bus.Open(ctx, server.URL(), redis.Backend(), bus.WithLogger(quiet))
	if err != nil {
		panic(err)
	}
	defer b.Close(context.Background())
	publish := func(id string) {
		events := []bus.Event{{ID: id, Source: "/greetings", Type: "greetings.v1.Said", Key: "anna"}}
		if err := b.Publish(context.Background(), "greetings", events...); err != nil {
			panic(err)
		}
		fmt.Printf("%s: heard by %d\n", id, events[0].Heard)
	}

	publish("too early")
	err = b.Subscribe(ctx, bus.Subscription{
		Group: "listeners", Topics: []string{"greetings"},
		OnReady: func(ready bool) {
			if ready {
				publish("hello")
			}
		},
		OnGap: func(_ context.Context, g bus.Gap) { fmt.Println("missed:", g.Reason) },
	}, func(_ context.Context, d bus.Delivery) error {
		fmt.Println("received:", d.Events[0].ID)
		cancel() // that is how to stop; Subscribe returns nil
		return nil
	})
	if err != nil {
		panic(err)
	}

	// Unordered output:
	// too early: heard by 0
	// hello: heard by 1
	// received: hello
}
