package main_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
)

// Example_client writes a user through the door of users and reads it back from directory, which was told of it by
// an event only: first a write of one's own, then one that will never come, then everybody, page by page.
func Example_client() {
	door, address, stop := runPlatform()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	charles, _ := createUser(ctx, door, `{"email":"charles@example.com","name":"Charles Babbage"}`)
	ada, version := createUser(ctx, door, `{"email":"ada@example.com","name":"Ada Charlotte Lovelace"}`)

	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	directory := directoryv1.NewDirectoryServiceClient(conn)

	person, err := readAtLeast(ctx, directory, ada, version)
	fmt.Println("read:", person.GetName(), person.GetVersion(), err)

	_, err = readAtLeast(ctx, directory, ada, version+1)
	fmt.Println(err)

	_, err = readAtLeast(ctx, directory, charles, 1)
	for person, searchErr := range everybody(ctx, directory, "charl") {
		fmt.Println("found:", person.GetName(), errors.Join(err, searchErr))
	}

	// Unordered output:
	// read: Ada Charlotte Lovelace 1 <nil>
	// directory has version 1, not yet 2 (behind)
	// found: Ada Charlotte Lovelace <nil>
	// found: Charles Babbage <nil>
}

// createUser posts a user. Its version, which any service's read can wait for, is the ETag of the answer.
func createUser(ctx context.Context, door, body string) (id string, version uint64) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, door+"/v1/users", strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		log.Fatal(resp.Status)
	}
	version, err = strconv.ParseUint(strings.Trim(resp.Header.Get("ETag"), `"`), 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return path.Base(resp.Header.Get("Location")), version
}

// errBehind says that a service has not applied a version yet. What to do is the caller's choice: try again, or use
// what is there.
var errBehind = errors.New("behind")

// readAtLeast reads a person at a version or a later one. The service waits until shortly before the call's deadline;
// its answer then says how far it is.
func readAtLeast(ctx context.Context, directory directoryv1.DirectoryServiceClient, id string, version uint64) (*directoryv1.Person, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resp, err := directory.GetPerson(ctx, &directoryv1.GetPersonRequest{Id: id, MinVersion: version})
	if status.Code(err) != codes.Aborted {
		return resp.GetPerson(), err
	}
	for _, detail := range status.Convert(err).Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if ok && info.GetReason() == "VERSION_NOT_APPLIED" {
			m := info.GetMetadata()
			return nil, fmt.Errorf("directory has version %s, not yet %s (%w)", m["have"], m["want"], errBehind)
		}
	}
	return nil, err
}

// everybody searches people and asks for page after page as they are used up.
func everybody(ctx context.Context, directory directoryv1.DirectoryServiceClient, query string) iter.Seq2[*directoryv1.Person, error] {
	return func(yield func(*directoryv1.Person, error) bool) {
		req := &directoryv1.SearchPeopleRequest{Query: query, PageSize: 1} // small, to show more than one page
		for {
			resp, err := directory.SearchPeople(ctx, req)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, person := range resp.GetPeople() {
				if !yield(person, nil) {
					return
				}
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return
			}
		}
	}
}

// runPlatform runs, on ports that the system picks, what `tidings up` runs.
func runPlatform() (door, directory string, stop func()) {
	dir, err := os.MkdirTemp("", "tidings-example-")
	if err != nil {
		log.Fatal(err)
	}
	const free = "127.0.0.1:0"
	p, err := platform.New(context.Background(), platform.Config{
		Bus: platform.EmbeddedKafka, Broker: free, Data: dir, Topic: "user_activity", Log: slog.New(slog.DiscardHandler),
		Door: free, Users: free, Directory: free, Audit: free, Mailer: free,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := p.StartAll(context.Background()); err != nil {
		log.Fatal(err)
	}
	report := p.Report(context.Background())
	users, _ := report.Service("users")
	reader, _ := report.Service("directory")
	return "http://" + users.Door, reader.Address, func() {
		if err := errors.Join(p.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}
