package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/tail"
)

type tailCommand struct {
	Bus   string   `help:"The bus: kafka or redis for the server inside tidings up, or the address of a real one: kafka://host:9092, redis://host:6379 (default ${default})." default:"kafka" placeholder:"URL"`
	Topic string   `help:"Topic to read (default ${default})." default:"${topic}"`
	From  string   `help:"Where to begin: end for what comes from now on (default), beginning for all that the log holds, or what the broker received since a time such as 2026-11-23T08:00:00Z, or 2h for two hours ago. On Redis only end." default:"end" placeholder:"PLACE" env:"-"`
	Key   string   `help:"Print events of this key only: a user's id." env:"-"`
	Type  []string `help:"Print events of this type only: users.events.v1.UserUpdated, or UserUpdated for that of any version; for several more than once." env:"-" sep:"none"`
	Count *int     `name:"count" short:"n" help:"End after so many." placeholder:"N" env:"-"`
	JSON  bool     `name:"json" help:"Print each event as a JSON object in a line of its own, in the CloudEvents JSON format, with all its attributes." env:"-"`
}

// Help is printed below the flags' own.
func (tailCommand) Help() string {
	return "A line an event: time, type, key, version, source, payload. Events of one key come in their order; across keys there is none to rely on, " +
		"neither of time nor of anything else. It only looks on: no consumer group is joined, no topic made. A broker or a topic that isn't there is waited for. " +
		"An interrupt ends it."
}

// topicName is what Kafka takes; a channel of Redis may have any name.
var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// Validate is called by the parser.
func (c *tailCommand) Validate() error {
	if _, err := c.start(time.Now()); err != nil {
		return err
	}
	switch {
	case c.Topic == "":
		return errors.New("--topic is empty; pass the topic to read, such as " + config.DefaultTopic)
	case !c.onRedis() && !topicName.MatchString(c.Topic):
		return fmt.Errorf("--topic %q: Kafka has no such names; pass letters, digits, '.', '_' and '-', 249 at most", c.Topic)
	case c.onRedis() && c.From != "end":
		return fmt.Errorf("--from %s: Redis PubSub keeps nothing of what was; leave --from out to see what comes from now on", c.From)
	case c.Count != nil && *c.Count < 1:
		return fmt.Errorf("--count %d: pass after how many events to end, 1 or more", *c.Count)
	case slices.Contains(c.Type, ""):
		return errors.New("--type is empty; pass a type such as users.events.v1.UserUpdated, or UserUpdated")
	}
	return nil
}

// start reads --from.
func (c *tailCommand) start(now time.Time) (bus.Start, error) {
	switch c.From {
	case "end":
		return bus.Latest(), nil
	case "beginning":
		return bus.Earliest(), nil
	}
	t, err := momentOf(c.From, now)
	if err != nil {
		return bus.Start{}, fmt.Errorf("--from %s: pass end, beginning, a time that has been, such as %s, or how long ago, such as 2h",
			c.From, now.UTC().Format(time.RFC3339))
	}
	return bus.Since(t), nil
}

func (c *tailCommand) onRedis() bool {
	return c.Bus == "redis" || strings.HasPrefix(c.Bus, "redis://") || strings.HasPrefix(c.Bus, "rediss://")
}

// address is where the bus is.
func (c *tailCommand) address() string {
	switch c.Bus {
	case "kafka":
		return config.EmbeddedKafka
	case "redis":
		return config.EmbeddedRedis
	}
	return c.Bus
}

func (c *tailCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	start, err := c.start(time.Now())
	if err != nil {
		return config.Usage("%w", err)
	}
	if err := tail.Check(ctx, c.address()); err != nil {
		return config.Usage("--bus: %w", err)
	}
	// Whoever reads our lines may have enough of them (head). Then writing is to fail, so that we end in order, and not
	// the process where it stands, of which `go run` would make a message.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(in.Stderr, "tail: "+line)
	}
	cfg := tail.Config{
		Bus: c.address(), Topic: c.Topic, Start: start, Key: c.Key, Types: c.Type,
		JSON: c.JSON, Out: in.Stdout, Say: say,
	}
	if c.Count != nil {
		cfg.Count = *c.Count
	}
	return tail.Run(ctx, cfg)
}
