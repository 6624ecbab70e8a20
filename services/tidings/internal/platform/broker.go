package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
)

// The buses that are named by no address: servers inside the process.
const (
	EmbeddedKafka = "kafka"
	EmbeddedRedis = "redis"
)

// broker is a server inside the process. *[embedded.Kafka] and *[embedded.Redis] are.
type broker interface {
	URL() string
	Close(ctx context.Context) error
}

func (c Config) embedded() bool { return c.Bus == EmbeddedKafka || c.Bus == EmbeddedRedis }

// startBroker starts the server that c.Bus names, or none, where it is the address of one.
func (c Config) startBroker(ctx context.Context) (b broker, err error) {
	switch c.Bus {
	case EmbeddedKafka:
		b, err = embedded.StartKafka(ctx, embedded.KafkaConfig{Addr: c.brokerAddr(config.EmbeddedKafka), Dir: c.brokerDir(), Log: c.Log})
	case EmbeddedRedis:
		b, err = embedded.StartRedis(ctx, embedded.RedisConfig{Addr: c.brokerAddr(config.EmbeddedRedis), Log: c.Log})
	}
	if err != nil {
		return nil, fmt.Errorf("--broker: %w", err)
	}
	return b, nil
}

// brokerAddr is where the server listens: c.Broker, or else the host and port of the URL that is its default.
func (c Config) brokerAddr(otherwise string) string {
	if c.Broker != "" {
		return c.Broker
	}
	u, _ := url.Parse(otherwise) // a constant
	return u.Host
}

// Check reports an address of a bus or a database that can't be used, before anything is made. It waits for no server.
func (c Config) Check(ctx context.Context) error {
	if err := c.checkDatabase(); err != nil {
		return err
	}
	if c.embedded() {
		return c.checkBroker(ctx)
	}
	_, err := c.keepsLog(ctx)
	return err
}

// checkBroker reports an address that is in use where there is no data yet, so that none is made for nothing. Where there
// is some, its platform may be what uses the address, and whoever claims it says so better.
func (c Config) checkBroker(ctx context.Context) error {
	if _, err := os.Stat(c.Dir()); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	address := config.EmbeddedKafka
	if c.Bus == EmbeddedRedis {
		address = config.EmbeddedRedis
	}
	l, err := config.Listen(ctx, "--broker", c.brokerAddr(address))
	if err != nil {
		return err
	}
	return l.Close()
}

// keepsLog asks the bus whether it keeps events. It waits for no broker.
func (c Config) keepsLog(ctx context.Context) (bool, error) {
	if c.embedded() {
		return c.Bus == EmbeddedKafka, nil
	}
	b, err := backends.Open(ctx, c.Bus, slog.New(slog.DiscardHandler))
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, CloseTimeout)
	defer cancel()
	return bus.KeepsLog(b), b.Close(ctx)
}
