package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

type statusCommand struct {
	controlFlag
	JSON bool `name:"json" help:"Print one JSON object instead of a table."`
}

// errDisagree is what `tidings status` exits 1 by.
var errDisagree = errors.New("the services disagree though nothing is on its way between them")

func (c *statusCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	report, err := control.Client{Address: c.Control}.Report(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(in.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		err = report.Write(in.Stdout)
	}
	if err == nil && len(report.Disagreements()) > 0 {
		err = errDisagree
	}
	return err
}

type stopCommand struct {
	controlFlag
	Service string `arg:"" help:"users, directory, audit or mailer."`
}

func (c *stopCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	if err := (control.Client{Address: c.Control}).Stop(ctx, c.Service); err != nil {
		return err
	}
	_, err := fmt.Fprintln(in.Stdout, c.Service, "is stopped")
	return err
}

type startCommand struct {
	controlFlag
	Service string `arg:"" help:"users, directory, audit or mailer."`
}

func (c *startCommand) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	if err := (control.Client{Address: c.Control}).Start(ctx, c.Service); err != nil {
		return err
	}
	_, err := fmt.Fprintln(in.Stdout, c.Service, "serves")
	return err
}
