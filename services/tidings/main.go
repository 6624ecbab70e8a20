// The command tidings runs the whole platform in one process, and is what a person runs by hand beside it.
//
//	go run ./services/tidings up
//	go run ./services/tidings --help
package main

import (
	"context"
	"errors"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/program"
)

func main() { os.Exit(program.Main(program.OS("tidings"), run)) }

// cli is every command and flag.
type cli struct {
	Version kong.VersionFlag `help:"Print the version and exit." env:"-"`

	Up      upCommand      `cmd:"" help:"Run the whole platform in this process: broker, users, directory, audit and mailer."`
	Import  importCommand  `cmd:"" help:"Bring users in through the write door."`
	Status  statusCommand  `cmd:"" help:"Show how the services of a running platform are; exit 1 when they disagree."`
	Lab     labCommand     `cmd:"" help:"See what a service misses that was down, or is new: the same experiment on Kafka and on Redis PubSub."`
	Tail    tailCommand    `cmd:"" help:"Print the events of a topic as they come, decoded."`
	Parked  parkedCommand  `cmd:"" help:"See and mend the events that services could not take."`
	Schema  schemaCommand  `cmd:"" help:"See and keep the contracts: types of events, who publishes and reads them, what was added when."`
	Rewind  rewindCommand  `cmd:"" help:"Have a service read its log again from an earlier place: what it lacks is filled in."`
	Rebuild rebuildCommand `cmd:"" help:"Empty a projection, and have it read its log again from the start."`
	Stop    stopCommand    `cmd:"" help:"Stop one service of a running platform."`
	Start   startCommand   `cmd:"" help:"Start one service of a running platform that was stopped."`
}

// controlFlag is where a command finds the platform that runs in another terminal.
type controlFlag struct {
	Control string `help:"Address of the control door of the running platform (default ${default})." default:"127.0.0.1:8479" placeholder:"HOST:PORT"`
}

func run(ctx context.Context, in program.IO) error {
	if len(in.Args) == 0 {
		in.Args = []string{"--help"}
	}
	var commands cli
	parsed, err := config.Parse(in.Args, in.Stdout, config.Defaults{
		Service:     in.Name,
		Description: "Services that learn of users only from events: the platform, and what a person runs by hand.",
	}, &commands)
	if err != nil {
		return err
	}
	chosen, ok := parsed.Selected().Target.Addr().Interface().(command)
	if !ok {
		return errors.New("no such command; see tidings --help")
	}
	return chosen.run(ctx, in, parsed)
}

// command is one command with its flags filled in.
type command interface {
	run(ctx context.Context, in program.IO, parsed *kong.Context) error
}
