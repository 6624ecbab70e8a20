package calls_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/calls"
)

func TestCloseWaitsForCallsAndRefusesNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calls.New()
		if err := c.Enter(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := c.Bound(t.Context())
		defer cancel()
		go func() {
			defer c.Leave()
			select {
			case <-ctx.Done():
				t.Error("a call that ends in time was cut short")
			case <-time.After(time.Second):
			}
		}()
		start := time.Now()
		if first, err := c.Close(t.Context(), func() {}); !first || err != nil || time.Since(start) != time.Second {
			t.Errorf("Close: %v, %v after %v", first, err, time.Since(start))
		}
		if err := c.Enter(); !errors.Is(err, bus.ErrClosed) {
			t.Errorf("Enter after Close: %v", err)
		}
		if first, err := c.Close(t.Context(), func() { t.Error("given up twice") }); first || err != nil {
			t.Errorf("a second Close: %v, %v", first, err)
		}
	})
}

func TestCloseEndsWhatDoesNotEndByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calls.New()
		if err := c.Enter(); err != nil {
			t.Fatal(err)
		}
		bound, cancel := c.Bound(t.Context())
		defer cancel()
		go func() {
			defer c.Leave()
			<-bound.Done()
		}()
		ctx, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		gaveUp := false
		_, err := c.Close(ctx, func() { gaveUp = true })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "still in flight") || !gaveUp || !c.Ended() {
			t.Errorf("Close: %v, gave up %v, ended %v", err, gaveUp, c.Ended())
		}
		if !errors.Is(context.Cause(bound), bus.ErrClosed) {
			t.Errorf("the call's context ended by %v", context.Cause(bound))
		}
	})
}

// What ends never is left behind after a bounded time, and told.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calls.New()
		if err := c.Enter(); err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		start := time.Now()
		_, err := c.Close(ctx, func() {})
		if err == nil || !strings.Contains(err.Error(), "still ending") || time.Since(start) != time.Minute+10*time.Second {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		c.Leave() // so that what waits for it ends
	})
}
