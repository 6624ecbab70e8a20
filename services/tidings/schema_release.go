package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemagate"
)

type schemaRelease struct {
	Number string `arg:"" name:"version" help:"MAJOR.MINOR.PATCH, above every one before: 0.2.0."`
	checkoutFlag
}

func (c *schemaRelease) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	gate, err := c.gate()
	if err != nil {
		return err
	}
	if err := schemagate.CheckVersion(c.Number); err != nil {
		return config.Usage("%w", err)
	}
	files, err := gate.Release(ctx, c.Number)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.Stdout, "released; commit what it made, which never changes again: .ci/generate && git add %s proto/asyncapi.yaml\n", strings.Join(files, " "))
	return err
}
