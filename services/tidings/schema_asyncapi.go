package main

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/bus/announce"
	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemadoc"
	users "github.com/tidings-dev/tidings/services/users/service"
)

// declared is what the services of this platform publish and read, as they say it themselves.
func declared() []schemadoc.Declared {
	return []schemadoc.Declared{
		{Role: announce.Publishes, Service: owner, Types: users.Publishes()},
		{Role: announce.Reads, Service: "directory", Types: directory.Reads()},
		{Role: announce.Reads, Service: "audit", Types: audit.Reads()},
		{Role: announce.Reads, Service: "mailer", Types: mailer.Reads()},
	}
}

type schemaAsyncAPI struct {
	Out  string `short:"o" help:"Write it to a file instead." placeholder:"FILE" env:"-"`
	JSON bool   `name:"json" help:"In JSON instead of YAML." env:"-"`
}

func (c *schemaAsyncAPI) run(_ context.Context, in program.IO, _ *kong.Context) error {
	document, err := c.document()
	if err != nil {
		return err
	}
	if c.Out != "" {
		return os.WriteFile(c.Out, document, 0o666)
	}
	_, err = in.Stdout.Write(document)
	return err
}

func (c *schemaAsyncAPI) document() ([]byte, error) {
	contracts, err := schemadoc.Load()
	if err != nil {
		return nil, err
	}
	kafka, err := url.Parse(config.EmbeddedKafka)
	if err != nil {
		return nil, fmt.Errorf("asyncapi: %w", err)
	}
	redis, err := url.Parse(config.EmbeddedRedis)
	if err != nil {
		return nil, fmt.Errorf("asyncapi: %w", err)
	}
	doc := contracts.AsyncAPI(declared(), schemadoc.Place{Topic: config.DefaultTopic, Kafka: kafka.Host, Redis: redis.Host})
	if c.JSON {
		return doc.JSON()
	}
	return doc.YAML(), nil
}
