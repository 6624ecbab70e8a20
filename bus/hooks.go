package bus

import "context"

// Hooks let metrics and tracing in from outside. Nil ones are skipped. They are called from many goroutines at
// once, on the path of the events: they must be safe for concurrent use and quick.
type Hooks struct {
	// Publish is called before events are sent; the function that it returns, unless nil, is called with the
	// outcome. The context that it returns, unless nil, is used for the call.
	Publish func(ctx context.Context, topic string, events []Event) (context.Context, func(error))
	// Handle is called before each attempt at a delivery, like Publish.
	Handle func(ctx context.Context, group string, d Delivery) (context.Context, func(error))
	// Gap hears of every loss that a backend notices.
	Gap func(ctx context.Context, group string, g Gap)
	// Ready hears of every change that Subscription.OnReady hears of.
	Ready func(group string, ready bool)
}

func (h Hooks) publish(ctx context.Context, topic string, events []Event) (context.Context, func(error)) {
	if h.Publish == nil {
		return ctx, func(error) {}
	}
	return orDefault(ctx)(h.Publish(ctx, topic, events))
}

func (h Hooks) handle(ctx context.Context, group string, d Delivery) (context.Context, func(error)) {
	if h.Handle == nil {
		return ctx, func(error) {}
	}
	return orDefault(ctx)(h.Handle(ctx, group, d))
}

// orDefault fills in what a hook left nil.
func orDefault(ctx context.Context) func(context.Context, func(error)) (context.Context, func(error)) {
	return func(hooked context.Context, done func(error)) (context.Context, func(error)) {
		if hooked == nil {
			hooked = ctx
		}
		if done == nil {
			done = func(error) {}
		}
		return hooked, done
	}
}
