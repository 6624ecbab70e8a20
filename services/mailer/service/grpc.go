package service

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus/inbox"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/paging"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
	"github.com/tidings-dev/tidings/services/internal/times"
	"github.com/tidings-dev/tidings/services/mailer/internal/store"
)

// server answers reads from the store. See the .proto file for what each method promises.
type server struct {
	mailerv1.UnimplementedMailerServiceServer
	store *store.Store
}

// place is where a page of messages ends.
type place struct{ Seq int64 }

// ListMessages returns messages, the one queued last first.
func (s *server) ListMessages(ctx context.Context, req *mailerv1.ListMessagesRequest) (*mailerv1.ListMessagesResponse, error) {
	filter, err := filterOf(req)
	if err != nil {
		return nil, err
	}
	page, err := paging.Read[place](req)
	if err != nil {
		return nil, err
	}
	var before *int64
	if page.After != nil {
		before = &page.After.Seq
	}
	found, err := s.store.List(ctx, filter, before, page.Size+1)
	if err != nil {
		return nil, err
	}
	resp := &mailerv1.ListMessagesResponse{}
	if len(found) > page.Size {
		found = found[:page.Size]
		if resp.NextPageToken, err = page.Next(place{found[page.Size-1].Seq}); err != nil {
			return nil, err
		}
	}
	for _, m := range found {
		resp.Messages = append(resp.Messages, messageProto(m))
	}
	resp.TotalSize, err = paging.Total(ctx,
		func(ctx context.Context, limit int) (int64, error) { return s.store.CountUpTo(ctx, filter, limit) },
		func(ctx context.Context) (int64, error) { return s.store.Estimate(ctx, filter) })
	return resp, err
}

// filterOf checks what is asked for.
func filterOf(req *mailerv1.ListMessagesRequest) (store.Filter, error) {
	var f store.Filter
	var faults []rpcerr.Violation
	if id := req.GetUserId(); id != "" {
		u, err := uuid.Parse(id)
		if err != nil || len(id) != len(u.String()) {
			faults = append(faults, rpcerr.Field("user_id", "%.64q is not a UUID", id))
		}
		f.UserID = u.String()
	}
	if state := req.GetState(); state != mailerv1.Message_STATE_UNSPECIFIED {
		name, ok := stateName(state)
		if !ok {
			faults = append(faults, rpcerr.Field("state", "%d is not a state of a message", state))
		}
		f.State = string(name)
	}
	return f, rpcerr.InvalidArgument(faults...)
}

// GetMessage returns the message that an event caused.
func (s *server) GetMessage(ctx context.Context, req *mailerv1.GetMessageRequest) (*mailerv1.GetMessageResponse, error) {
	if req.GetEventId() == "" {
		return nil, rpcerr.InvalidArgument(rpcerr.Field("event_id", "it is empty"))
	}
	m, err := s.store.Get(ctx, req.GetEventId())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, rpcerr.NotFound("mailer.v1.Message", req.GetEventId())
	case err != nil:
		return nil, err
	}
	return &mailerv1.GetMessageResponse{Message: messageProto(m)}, nil
}

// states are the inbox's words and the API's.
var states = map[inbox.State]mailerv1.Message_State{
	inbox.Queued:   mailerv1.Message_STATE_QUEUED,
	inbox.Sending:  mailerv1.Message_STATE_SENDING,
	inbox.Sent:     mailerv1.Message_STATE_SENT,
	inbox.Retrying: mailerv1.Message_STATE_RETRYING,
	inbox.Skipped:  mailerv1.Message_STATE_SKIPPED,
	inbox.Dead:     mailerv1.Message_STATE_DEAD,
}

func stateName(want mailerv1.Message_State) (inbox.State, bool) {
	for name, state := range states {
		if state == want {
			return name, true
		}
	}
	return "", false
}

func messageProto(m store.Message) *mailerv1.Message {
	return &mailerv1.Message{
		EventId: m.EventID, UserId: m.UserID, To: m.To, Subject: m.Subject,
		State: states[inbox.State(m.State)], Attempts: int32(m.Attempts), LastError: m.LastError,
		CreateTime: times.ToProto(m.CreateTime), UpdateTime: times.ToProto(m.UpdateTime), NextAttemptTime: times.ToProto(m.NextTime),
	}
}
