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

// `tidings status` exits 1 by one of these.
var (
	errDisagree = errors.New("the services disagree though nothing is on its way between them")
	// errMissed is for a bus that keeps no log: there it is to be expected of a service that was down or new.
	errMissed = errors.New("the services disagree, and this bus has kept nothing that could mend it")
)

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
	switch {
	case err != nil || len(report.Disagreements()) == 0:
		return err
	case !report.Bus.KeepsLog:
		return errMissed
	}
	return errDisagree
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
