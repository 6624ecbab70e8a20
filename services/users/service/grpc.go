package service

import (
	"context"
	"errors"
	"math"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/minversion"
	"github.com/tidings-dev/tidings/services/internal/paging"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// server answers users.v1.UserService from the service's own database.
type server struct {
	usersv1.UnimplementedUserServiceServer
	store *store.Store
}

// GetUser returns one user, once this database has min_version of it. Who was deleted is not there, whatever version is
// asked for, up to that of the deletion; a later one never comes, which is said as the version's state.
func (s *server) GetUser(ctx context.Context, req *usersv1.GetUserRequest) (*usersv1.GetUserResponse, error) {
	id, ok := store.ParseID(req.GetId())
	if !ok {
		return nil, rpcerr.InvalidArgument(rpcerr.Field("id", "%.64q is not a UUID", req.GetId()))
	}
	var u store.User
	look := func(ctx context.Context) (minversion.Applied, error) {
		var err error
		if u, err = s.store.Get(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return minversion.Applied{}, err
		}
		return applied(u), nil
	}
	if _, err := look(ctx); err != nil {
		return nil, err
	}
	if u.Version < req.GetMinVersion() {
		// Only a caller who has heard of the version from elsewhere, or has made it up, gets here: a write is
		// answered when it can be read.
		if err := minversion.Poll(ctx, store.Source, req.GetMinVersion(), look); err != nil {
			return nil, err
		}
	}
	if u.Version == 0 || u.Deleted() {
		return nil, rpcerr.NotFound("users.v1.User", id)
	}
	return &usersv1.GetUserResponse{User: u.Proto()}, nil
}

// applied says how far the database is with a user; the zero User was never there.
func applied(u store.User) minversion.Applied {
	if u.Deleted() {
		return minversion.Applied{Version: u.Version, State: rpcerr.Deleted}
	}
	return minversion.Applied{Version: u.Version, State: rpcerr.Behind}
}

// cursor is where a page of ListUsers ends.
type cursor struct{ ID string }

// ListUsers returns a page of users in the order of their ids. It asks for one row more than the page has, which says
// whether there is another page. The total costs one row, so it is exact always.
func (s *server) ListUsers(ctx context.Context, req *usersv1.ListUsersRequest) (*usersv1.ListUsersResponse, error) {
	page, err := paging.Read[cursor](req)
	if err != nil {
		return nil, err
	}
	var after string
	if page.After != nil {
		after = page.After.ID
	}
	users, err := s.store.List(ctx, after, page.Size+1)
	if err != nil {
		return nil, err
	}
	totals, err := s.store.Totals(ctx)
	if err != nil {
		return nil, err
	}
	resp := &usersv1.ListUsersResponse{TotalSize: int32(min(totals.Live, math.MaxInt32))}
	if len(users) > page.Size {
		users = users[:page.Size]
		if resp.NextPageToken, err = page.Next(cursor{users[page.Size-1].ID}); err != nil {
			return nil, err
		}
	}
	for _, u := range users {
		resp.Users = append(resp.Users, u.Proto())
	}
	return resp, nil
}
