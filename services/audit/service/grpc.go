package service

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus/inbox"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	"github.com/tidings-dev/tidings/services/audit/internal/store"
	"github.com/tidings-dev/tidings/services/internal/paging"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// usersSource is who numbers the versions of users. Nobody else's word stands in their histories.
const usersSource = "/users"

// maxPageBytes bounds the data on a page, so that an answer stays below the 4 MiB that clients take by default: an
// event has up to a megabyte, and its JSON may be as long again.
const maxPageBytes = 1 << 20

// holeReader tells which versions of a key are missing. *[inbox.Inbox] is one.
type holeReader interface {
	Holes(ctx context.Context, source, key string) ([]inbox.Hole, error)
}

// server answers reads from the store. See the .proto file for what each method promises.
type server struct {
	auditv1.UnimplementedAuditServiceServer
	store *store.Store
	holes holeReader
}

// place is where an entry stands in a user's history. A hole stands at its first version, without source and id, and
// so before an event that has this version too: one of another source, which an earlier release has taken.
type place struct {
	Version uint64 `json:"v"`
	Source  string `json:"s,omitempty"`
	EventID string `json:"i,omitempty"`
}

// ListUserEvents returns the history of one user.
func (s *server) ListUserEvents(ctx context.Context, req *auditv1.ListUserEventsRequest) (*auditv1.ListUserEventsResponse, error) {
	id, err := uuid.Parse(req.GetUserId())
	if err != nil || len(req.GetUserId()) != len(id.String()) { // Parse also takes braces and URNs
		return nil, rpcerr.InvalidArgument(rpcerr.Field("user_id", "%.64q is not a UUID", req.GetUserId()))
	}
	page, err := paging.Read[place](req)
	if err != nil {
		return nil, err
	}
	// Holes first: an event that fills one meanwhile is then seen twice, as missing and as there, but never not at all.
	holes, err := s.holes.Holes(ctx, usersSource, id.String())
	if err != nil {
		return nil, err
	}
	resp := &auditv1.ListUserEventsResponse{}
	last, more, err := s.fill(ctx, resp, id.String(), page, holes)
	if err != nil {
		return nil, err
	}
	if more {
		if resp.NextPageToken, err = page.Next(last); err != nil {
			return nil, err
		}
	}
	count := func(ctx context.Context, limit int) (int64, error) {
		n, err := s.store.CountOf(ctx, id.String(), limit)
		return n + int64(len(holes)), err
	}
	resp.TotalSize, err = paging.Total(ctx, count, func(ctx context.Context) (int64, error) { return s.store.EstimateOf(ctx, id.String()) })
	return resp, err
}

// fill puts the entries of a page into resp: events and holes, in order. It returns the place of the last one, and
// whether others follow.
func (s *server) fill(ctx context.Context, resp *auditv1.ListUserEventsResponse, id string, page paging.Page[place], holes []inbox.Hole) (last place, more bool, err error) {
	if page.After != nil {
		last = *page.After
		holes = slices.DeleteFunc(holes, func(h inbox.Hole) bool { return h.First <= last.Version })
	}
	found, err := s.store.List(ctx, id, store.Place(last), page.Size, maxPageBytes)
	if err != nil {
		return last, false, err
	}
	// Both lists are in order; they are merged up to the size of the page. A hole behind the last event that was read
	// waits for the next page while there are more events: some of them may stand before it.
	events := found.Events
	for len(resp.Entries) < page.Size {
		switch {
		case len(holes) > 0 && (len(events) > 0 && holes[0].First <= events[0].Version || len(events) == 0 && !found.More):
			resp.Entries = append(resp.Entries, holeEntry(holes[0]))
			last = place{Version: holes[0].First}
			holes = holes[1:]
		case len(events) > 0:
			resp.Entries = append(resp.Entries, eventEntry(&events[0]))
			last = place(events[0].Place)
			events = events[1:]
		default:
			return last, found.More, nil
		}
	}
	return last, len(events) > 0 || len(holes) > 0 || found.More, nil
}

// holeEntry tells of versions that were waited for in vain.
func holeEntry(h inbox.Hole) *auditv1.Entry {
	return &auditv1.Entry{Kind: &auditv1.Entry_Hole{Hole: &auditv1.Hole{FirstVersion: h.First, LastVersion: h.Last}}}
}

// eventEntry tells of an event: its bytes as they came, and what this release can read in them.
func eventEntry(e *store.Event) *auditv1.Entry {
	return &auditv1.Entry{Kind: &auditv1.Entry_Event{Event: &auditv1.UserEvent{
		Version: e.Version, Type: e.Type, EventId: e.EventID, Source: e.Source,
		Time: times.ToProto(e.Time), Data: e.Data, Json: toJSON(e),
	}}}
}
