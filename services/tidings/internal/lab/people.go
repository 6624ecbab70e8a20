package lab

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/tidings/internal/importer"
)

// Everybody's address begins with prefix, so that one search finds all. Nobody's made-up name does.
const prefix = "lab-user-"

// address is that of the i-th user, in the domain that is set aside for examples.
func address(i int) string { return fmt.Sprintf("%s%d@example.com", prefix, i) }

// seed is of the names only: the same people each time.
const seed = 1

// people makes up n users, of whom the first is the one with the number first.
func people(first, n int) importer.Rows {
	return func(yield func(importer.Row, error) bool) {
		for row, err := range importer.Sample(n, seed) {
			row.Email = address(first + row.Line - 1)
			if !yield(row, err) {
				return
			}
		}
	}
}

// held asks the directory at an address of gRPC how many of the users written so far it really holds.
func (s *stage) held(ctx context.Context, at string) (n int, err error) {
	// By gRPC, as any client: a database that can't be read by it would be of no use to anybody.
	conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	found, err := everybody(ctx, directoryv1.NewDirectoryServiceClient(conn))
	// One by one, for somebody who is held and was never written must not make up for one who is missing.
	for i := range s.written {
		if found[address(i+1)] {
			n++
		}
	}
	return n, err
}

// pageSize is the largest that a directory gives.
const pageSize = 1000

// everybody returns the addresses of all users of the lab that a directory knows.
func everybody(ctx context.Context, c directoryv1.DirectoryServiceClient) (map[string]bool, error) {
	found := map[string]bool{}
	for token := ""; ; {
		page, err := c.SearchPeople(ctx, &directoryv1.SearchPeopleRequest{Query: prefix, PageSize: pageSize, PageToken: token})
		if err != nil {
			return nil, fmt.Errorf("what directory holds: %w", err)
		}
		for _, p := range page.GetPeople() {
			found[p.GetEmail()] = true
		}
		if token = page.GetNextPageToken(); token == "" {
			return found, nil
		}
	}
}
