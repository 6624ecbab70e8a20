package lab

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
)

// kind is one bus of the experiment: all in which it differs from the others.
type kind struct {
	id       string              // as JSON and the flag have it
	name     string              // for people
	embedded string              // what the platform calls the one inside the process
	real     func(Config) string // the address of a real server, "" for none
	schemes  []string            // that such an address may have
	// keepsLog says what the bus promises, and what the outcome is measured by.
	keepsLog bool
	// remove deletes a topic from a real server; nil where nothing stays of one.
	remove func(ctx context.Context, rawURL string, topics ...string) error
	// ask asks a server something that only one who is let in gets an answer to.
	ask func(ctx context.Context, b bus.Bus, topic string) error
}

// kinds are the buses in the order of the columns. Another one is another entry here.
func kinds() []kind {
	return []kind{
		{
			id: "kafka", name: "Kafka", embedded: platform.EmbeddedKafka, schemes: []string{"kafka"}, keepsLog: true,
			real: func(c Config) string { return c.Kafka }, remove: kafka.DeleteTopics, ask: askForTopic,
		},
		{
			id: "redis", name: "Redis PubSub", embedded: platform.EmbeddedRedis, schemes: []string{"redis", "rediss"},
			real: func(c Config) string { return c.Redis }, ask: sayToNobody,
		},
	}
}

// address is what the platform is told as its bus.
func (k kind) address(cfg Config) string {
	if given := k.real(cfg); given != "" {
		return given
	}
	return k.embedded
}

// check finds what is typed wrong before anything is made. It waits for no server.
func (k kind) check(ctx context.Context, cfg Config) error {
	given := k.real(cfg)
	if given == "" {
		return nil
	}
	u, err := url.Parse(given)
	if err != nil || !slices.Contains(k.schemes, u.Scheme) || u.Host == "" {
		return config.Usage("--%s %s: pass an address such as %s://host:port, or nothing for a server inside this process",
			k.id, config.Redact(given), strings.Join(k.schemes, ":// or "))
	}
	if err := (platform.Config{Bus: given}).Check(ctx); err != nil {
		return config.Usage("--%s: %w", k.id, err)
	}
	return nil
}
