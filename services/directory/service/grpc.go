package service

import (
	"context"
	"errors"

	"github.com/google/uuid"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/minversion"
	"github.com/tidings-dev/tidings/services/internal/paging"
	"github.com/tidings-dev/tidings/services/internal/rpcerr"
	"github.com/tidings-dev/tidings/services/internal/times"
)

// longestQuery bounds an address or the beginning of one, in bytes.
const longestQuery = 254

// server answers reads from the store. See the .proto file for what each method promises.
type server struct {
	directoryv1.UnimplementedDirectoryServiceServer
	store *store.Store
	inbox minversion.Awaiter
}

// GetPerson returns one person by id, as of min_version or later.
func (s *server) GetPerson(ctx context.Context, req *directoryv1.GetPersonRequest) (*directoryv1.GetPersonResponse, error) {
	id, ok := parseID(req.GetId())
	if !ok {
		return nil, rpcerr.InvalidArgument(rpcerr.Field("id", "%.64q is not a UUID", req.GetId()))
	}
	// No version follows the deletion, so a deleted person is not waited for.
	gone := func(ctx context.Context) (bool, error) {
		p, _, err := s.get(ctx, id)
		return p.Deleted, err
	}
	if err := minversion.Await(ctx, s.inbox, usersSource, id, req.GetMinVersion(), gone); err != nil {
		return nil, err
	}
	p, found, err := s.get(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case !found || p.Deleted:
		return nil, rpcerr.NotFound("directory.v1.Person", id)
	}
	return &directoryv1.GetPersonResponse{Person: personProto(p)}, nil
}

// get is the store's Get with a person who was never heard of as an answer, not an error.
func (s *server) get(ctx context.Context, id string) (p store.Person, found bool, err error) {
	p, err = s.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Person{}, false, nil
	}
	return p, err == nil, err
}

// LookupByEmail returns everybody who holds an address, the newest first.
func (s *server) LookupByEmail(ctx context.Context, req *directoryv1.LookupByEmailRequest) (*directoryv1.LookupByEmailResponse, error) {
	if err := checkText("email", req.GetEmail()); err != nil {
		return nil, err
	}
	page, err := paging.Read[store.Holder](req)
	if err != nil {
		return nil, err
	}
	// One row more than the page has says whether there is another page.
	people, total, err := s.store.Holders(ctx, req.GetEmail(), page.After, page.Size+1, paging.MaxExactTotal+1)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.LookupByEmailResponse{TotalSize: int32(total)}
	if len(people) > page.Size {
		people = people[:page.Size]
		resp.NextPageToken, err = page.Next(store.HolderOf(people[page.Size-1]))
	}
	for _, p := range people {
		resp.People = append(resp.People, personProto(p))
	}
	return resp, err
}

// SearchPeople returns everybody whose address, or any word of whose name or display name, begins with the query.
func (s *server) SearchPeople(ctx context.Context, req *directoryv1.SearchPeopleRequest) (*directoryv1.SearchPeopleResponse, error) {
	if err := checkText("query", req.GetQuery()); err != nil {
		return nil, err
	}
	page, err := paging.Read[store.Place](req)
	if err != nil {
		return nil, err
	}
	// One row more than the page has says whether there is another page.
	found, err := s.store.Search(ctx, req.GetQuery(), page.After, page.Size+1)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.SearchPeopleResponse{}
	if len(found) > page.Size {
		found = found[:page.Size]
		if resp.NextPageToken, err = page.Next(found[page.Size-1].At); err != nil {
			return nil, err
		}
	}
	for _, m := range found {
		resp.People = append(resp.People, personProto(m.Person))
	}
	resp.TotalSize, err = paging.Total(ctx,
		func(ctx context.Context, limit int) (int64, error) {
			return s.store.CountMatches(ctx, req.GetQuery(), limit)
		},
		func(ctx context.Context) (int64, error) { return s.store.EstimateMatches(ctx, req.GetQuery()) })
	return resp, err
}

// parseID returns the text form of a UUID as events have it. It takes no other form, such as one in braces.
func parseID(s string) (id string, ok bool) {
	u, err := uuid.Parse(s)
	return u.String(), err == nil && len(s) == len(u.String())
}

// checkText refuses an address, or the beginning of one, that is empty or too long.
func checkText(field, text string) error {
	switch {
	case text == "":
		return rpcerr.InvalidArgument(rpcerr.Field(field, "it is empty"))
	case len(text) > longestQuery:
		return rpcerr.InvalidArgument(rpcerr.Field(field, "it has %d bytes; at most %d are allowed", len(text), longestQuery))
	}
	return nil
}

// personProto returns p as the API has it, with an order of names that nobody here knows as it is. A deleted person has
// no place there.
func personProto(p store.Person) *directoryv1.Person {
	m := &directoryv1.Person{
		Id: p.ID, Email: p.Email, Name: p.Name, Version: p.Version,
		CreateTime: times.ToProto(p.CreateTime), UpdateTime: times.ToProto(p.UpdateTime),
		DisplayName: p.DisplayName, Locale: p.Locale, Phone: p.Phone,
	}
	if p.Parts != nil {
		m.GivenName, m.FamilyName, m.NameOrder = &p.Parts.Given, &p.Parts.Family, directoryv1.NameOrder(p.Parts.Order)
	}
	return m
}
