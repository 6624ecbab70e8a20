package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemagate"
)

type schemaRecord struct {
	Type string `arg:"" help:"The event's type: users.events.v1.UserCreated."`
	checkoutFlag
	Case string            `help:"What to call the golden event (default: filled, or the next name that is free)." placeholder:"NAME" env:"-"`
	JSON *string           `name:"json" help:"File with the message in protojson, - for standard input. Without it messages are made up that together have every field set." placeholder:"FILE" env:"-"`
	AsOf string            `help:"Make the message up as it was in a release: with the fields that it had then." placeholder:"VERSION" env:"-"`
	Ext  map[string]string `help:"A further attribute of the event, such as traceparent; may be repeated." placeholder:"NAME=VALUE" mapsep:"none" env:"-"`
}

// Validate is called by the parser.
func (c *schemaRecord) Validate() error {
	if c.JSON != nil && *c.JSON == "" {
		return errors.New("--json: it is empty; pass a file, or - for standard input")
	}
	if c.JSON != nil && c.AsOf != "" {
		return errors.New("--json and --as-of: pass one; --as-of makes the message up")
	}
	if c.AsOf != "" {
		if err := schemagate.CheckVersion(c.AsOf); err != nil {
			return fmt.Errorf("--as-of: %w", err)
		}
	}
	if c.Case != "" {
		return schemagate.CheckCase(c.Case)
	}
	return nil
}

func (c *schemaRecord) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	gate, err := c.gate()
	if err != nil {
		return err
	}
	r := schemagate.Recording{Type: c.Type, Case: c.Case, AsOf: c.AsOf, Ext: c.Ext}
	if r.JSON, err = c.read(in.Stdin); err != nil {
		return err
	}
	made, err := gate.Record(ctx, r)
	for _, dir := range made {
		fmt.Fprintf(in.Stdout, "recorded %s\n", dir)
	}
	if err != nil {
		return err
	}
	if len(made) == 0 {
		_, err = fmt.Fprintf(in.Stdout, "nothing is lacking of %s: recorded nothing; pass --json, --case or --as-of for a case more\n", c.Type)
		return err
	}
	_, err = fmt.Fprint(in.Stdout, recorded)
	return err
}

// recorded is what to do next.
const recorded = `read event.json in it: once released, it never changes; until then, remove the folder to record it again
then .ci/generate, and go test ./services/tidings/internal/schemagate hands it to every consumer
`

// read reads what --json names; nil without it.
func (c *schemaRecord) read(stdin io.Reader) (b []byte, err error) {
	if c.JSON == nil {
		return nil, nil
	}
	switch *c.JSON {
	case "-":
		b, err = io.ReadAll(stdin)
	default:
		b, err = os.ReadFile(*c.JSON)
	}
	if err != nil {
		return nil, config.Usage("--json %s: %w", *c.JSON, err)
	}
	return append([]byte{}, b...), nil
}
