package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemagate"
)

// checkoutFlag is where a command finds the contracts that it works on, which are files and no part of the program.
type checkoutFlag struct {
	Dir string `help:"The checkout: the folder that holds buf.yaml and proto/ (default: this one)." default:"." placeholder:"DIR" env:"-"`
}

// gate is the gate of the checkout.
func (f *checkoutFlag) gate() (schemagate.Gate, error) {
	for _, name := range []string{"buf.yaml", "proto", filepath.Join(".ci", "buf")} {
		if _, err := os.Stat(filepath.Join(f.Dir, name)); errors.Is(err, fs.ErrNotExist) {
			return schemagate.Gate{}, config.Usage("--dir %s: there is no %s in it; pass the top of a checkout of Tidings", f.Dir, name)
		} else if err != nil {
			return schemagate.Gate{}, config.Usage("--dir %s: %w", f.Dir, err)
		}
	}
	return schemagate.Gate{Dir: f.Dir}, nil
}

type schemaCheck struct{ checkoutFlag }

func (c *schemaCheck) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	gate, err := c.gate()
	if err != nil {
		return err
	}
	r, err := gate.Check(ctx)
	if err != nil {
		return err
	}
	if len(r.Faults) > 0 {
		return &schemagate.FaultsError{Faults: r.Faults}
	}
	against := "nothing was released yet"
	if len(r.Releases) > 0 {
		against = "nothing of " + strings.Join(r.Releases, ", ") + " is broken"
	}
	_, err = fmt.Fprintf(in.Stdout, "proto/ is in order: %s; %d golden events say all that %d event types can\n", against, r.Goldens, r.Types)
	return err
}
