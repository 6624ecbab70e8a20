package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/announce"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/grpcserver"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// Parts is what a service's Build puts together. Its methods are for Build, on Build's goroutine.
type Parts struct {
	DB   *database.DB       // locked, migrated, readable
	Bus  bus.Bus            // open; the broker may be away
	GRPC *grpcserver.Server // to register the service at, and to tell of the subscription
	Log  *slog.Logger       // says which service it is

	info       Info
	gaps       gaps
	busFault   busFault
	consumes   bool                    // an inbox, which says itself what the bus lacks
	said       []announce.Announcement // of which types are published and read
	components []program.Component
	status     []func(context.Context, *Status) error
	listeners  []net.Listener
}

// Go names something that is to run beside the gRPC server. It starts once Build has returned, and all are started
// at once; when the service stops, the last one named is the first to be told, right after gRPC. See
// [program.Component] for what run has to do.
func (p *Parts) Go(name string, run func(ctx context.Context) error) {
	p.components = append(p.components, program.Component{Name: name, Run: run})
}

// OnStatus adds a function that fills in the service's own part of a [Status]. It is called while the service is
// Serving only, from any goroutine, at once with others.
func (p *Parts) OnStatus(fill func(ctx context.Context, s *Status) error) {
	p.status = append(p.status, fill)
}

// Consume runs in, under the name "inbox", has it fill in its part of the [Status]: all but Count, and announces which
// types it reads. The inbox's own Config has OnReady: p.GRPC.SetBus, for health "bus", and OnGap: p.OnGap.
func (p *Parts) Consume(in *inbox.Inbox) {
	p.consumes = true
	p.said = append(p.said, announce.Announcement{Role: announce.Reads, Group: in.Group(), Types: in.Types()})
	p.Go("inbox", func(ctx context.Context) error { return in.Run(ctx, p.Bus) })
	p.OnStatus(func(ctx context.Context, s *Status) error {
		have, err := in.Status(ctx)
		if err == nil {
			s.take(have)
			s.Gap, s.Uncounted = p.gaps.get(s.Seq)
		}
		return err
	})
}

// Publishes has it announced that the service publishes events of these types, by their full names.
func (p *Parts) Publishes(types ...string) {
	p.said = append(p.said, announce.Announcement{Role: announce.Publishes, Types: types})
}

// OnGap is for the Config of an inbox. It keeps the last losses that were noticed for the [Status]; the inbox, or the
// bus, has logged them. It is safe for concurrent use.
func (p *Parts) OnGap(_ context.Context, g bus.Gap) { p.gaps.set(g, bus.KeepsLog(p.Bus)) }

// take fills in what an inbox knows.
func (s *Status) take(have inbox.Status) {
	s.Keys, s.Versions, s.Lag = have.Keys, have.Versions, have.Lag
	s.Queued, s.Waiting, s.Parked, s.Dead = have.Queue, have.Waiting, have.Parked-have.Dead, have.Dead
	s.Missing, s.Ignored = have.Missing, have.Ignored
	for _, at := range have.Positions {
		s.Positions = append(s.Positions, Position{Topic: at.Topic, Log: at.Log, Partition: at.Partition, Next: max(0, at.Offset)})
	}
	s.Missed = have.Missed
	for _, at := range have.Streams {
		s.Streams = append(s.Streams, Stream{
			Topic: at.Topic, Source: at.Source, Log: at.SeqLog, First: at.First, Seq: at.Highest, Missed: at.Missed,
		})
	}
	s.Seq = lastNumbers(s.Streams)
	if have.Lost > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("the log had dropped %d offsets before they were read", have.Lost))
	}
}

// lastNumbers adds up the highest number of each topic and source, of the newest numbering only: that is the one which
// others are compared with. The streams are in order of topic and source, older numberings first.
func lastNumbers(streams []Stream) (sum uint64) {
	for i, at := range streams {
		if i+1 == len(streams) || streams[i+1].Topic != at.Topic || streams[i+1].Source != at.Source {
			sum += at.Seq
		}
	}
	return sum
}

// Listen listens on a TCP address for the service, beside gRPC's; flag names the flag that address came from. The
// listener is closed when the start fails, or the service has ended.
func (p *Parts) Listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := config.Listen(ctx, flag, address)
	if err == nil {
		p.listeners = append(p.listeners, l)
	}
	return l, err
}

// SetDoor tells the address of the write door, for [Info].
func (p *Parts) SetDoor(address string) { p.info.Door = address }

// close gives back everything, in the reverse order of its making, within limit.
func (p *Parts) close(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, l := range p.listeners {
		_ = l.Close() // closed already where its server has run
	}
	if p.GRPC != nil {
		p.GRPC.Close()
	}
	var faults []error
	if p.Bus != nil {
		faults = append(faults, p.Bus.Close(ctx))
	}
	if p.DB != nil {
		faults = append(faults, p.DB.Close())
	}
	return errors.Join(faults...)
}
