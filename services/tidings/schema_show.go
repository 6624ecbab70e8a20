package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemadoc"
)

type schemaShow struct {
	Type    string `arg:"" help:"Full name of a message, an enum or a service: users.events.v1.UserCreated."`
	Release string `help:"As it was in a release: 0.1.0. The default is as it is today." default:"today" placeholder:"VERSION" env:"-"`
	JSON    bool   `name:"json" help:"Print one JSON object." env:"-"`
}

func (c *schemaShow) run(_ context.Context, in program.IO, _ *kong.Context) error {
	contracts, err := schemadoc.Load()
	if err != nil {
		return err
	}
	state, err := contracts.State(c.Release)
	if err != nil {
		return asUsage(err)
	}
	shown, err := contracts.Show(state, c.Type)
	if err != nil {
		return asUsage(err)
	}
	if c.JSON {
		return printJSON(in.Stdout, shown)
	}
	return printShown(in.Stdout, shown)
}

// asUsage makes a name that is typed wrong an error of usage.
func asUsage(err error) error {
	if e := (*schemadoc.UnknownError)(nil); errors.As(err, &e) {
		return config.Usage("%w", err)
	}
	return err
}

func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

func printShown(w io.Writer, s schemadoc.Shown) error {
	in := ""
	if s.Release != schemadoc.Today {
		in = ", as it was in " + s.Release
	}
	fmt.Fprintf(w, "%s %s, %s%s\n%s", s.Kind, s.Name, sinceText(s.Since), in, withMargin(s.Comment, ""))
	for _, m := range s.Members {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\n%s\n", strings.Join(memberCells(m), "\t"))
		if err := t.Flush(); err != nil {
			return err
		}
		if _, err := io.WriteString(w, withMargin(m.Comment, "    ")); err != nil {
			return err
		}
	}
	return nil
}

// memberCells is a member in one line: "9  phone  optional string  may be absent  since 0.2.0".
func memberCells(m schemadoc.Member) []string {
	var cells []string
	if m.Type == "" || m.Presence != "" {
		cells = append(cells, strconv.Itoa(int(m.Number)))
	}
	for _, cell := range []string{m.Name, m.Type, m.Presence, sinceText(m.Since)} {
		if cell != "" {
			cells = append(cells, cell)
		}
	}
	if m.Deprecated {
		cells = append(cells, "deprecated")
	}
	return cells
}

func sinceText(since string) string {
	if since == schemadoc.Unreleased {
		return since
	}
	return "since " + since
}

// withMargin is a comment behind spaces, a line each.
func withMargin(comment, by string) string {
	if comment == "" {
		return ""
	}
	var b strings.Builder
	for line := range strings.SplitSeq(comment, "\n") {
		b.WriteString(strings.TrimRight(by+strings.TrimSpace(line), " ") + "\n")
	}
	return b.String()
}
