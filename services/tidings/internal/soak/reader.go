package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
)

// readTime bounds a read, and with it how long one waits for the version that it wants.
const readTime = 1500 * time.Millisecond

// reader reads what was written lately, from any replica, and insists on the version that the writer was answered.
type reader struct {
	users, directories []string // addresses
	ledger             *ledger
	rng                *rand.Rand
	conns              map[string]*grpc.ClientConn
}

// newReader draws from the seed, as a writer does. The numbers of readers and writers are kept apart, so that no two of them
// draw the same.
func newReader(n int, seed uint64, users, directories []string, l *ledger) *reader {
	return &reader{users: users, directories: directories, ledger: l,
		rng: rand.New(rand.NewPCG(seed, 1000+uint64(n))), conns: map[string]*grpc.ClientConn{}}
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) error {
	defer func() {
		for _, c := range r.conns {
			_ = c.Close() // nothing is under way
		}
	}()
	for ctx.Err() == nil {
		if w, ok := r.ledger.lately(r.rng); ok {
			if err := r.read(w); err != nil {
				return err
			}
		}
		rest(ctx, time.Duration(r.rng.Int64N(int64(restTime))))
	}
	return nil
}

// read asks for the user of a write.
func (r *reader) read(w Write) error {
	from, addrs := "directory", r.directories
	if r.rng.IntN(4) == 0 {
		from, addrs = "users", r.users
	}
	conn, err := r.conn(addrs[r.rng.IntN(len(addrs))])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	one := Read{From: from, User: w.User, Wanted: w.Version}
	if from == "users" {
		var resp *usersv1.GetUserResponse
		resp, err = usersv1.NewUserServiceClient(conn).GetUser(ctx, &usersv1.GetUserRequest{Id: w.User, MinVersion: w.Version})
		one.Got, one.Name = resp.GetUser().GetVersion(), resp.GetUser().GetName()
	} else {
		var resp *directoryv1.GetPersonResponse
		resp, err = directoryv1.NewDirectoryServiceClient(conn).GetPerson(ctx, &directoryv1.GetPersonRequest{Id: w.User, MinVersion: w.Version})
		one.Got, one.Name = resp.GetPerson().GetVersion(), resp.GetPerson().GetName()
	}
	one.Deleted = saysDeleted(err)
	r.ledger.answered(howAnswered(err), one)
	return nil
}

// conn is a connection to a replica, kept.
func (r *reader) conn(addr string) (*grpc.ClientConn, error) {
	if c := r.conns[addr]; c != nil {
		return c, nil
	}
	again := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond}}
	c, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(again))
	if err != nil {
		return nil, fmt.Errorf("soak: reader: %w", err)
	}
	r.conns[addr] = c
	return c, nil
}

// saysDeleted reports whether a read was answered that the user is gone. That it was never there says the same of one
// whose creation was acknowledged.
func saysDeleted(err error) bool {
	return status.Code(err) == codes.NotFound || notApplied(err) == "deleted"
}

// notApplied is the state that VERSION_NOT_APPLIED tells; empty for any other answer.
func notApplied(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == "VERSION_NOT_APPLIED" {
			return info.GetMetadata()["state"]
		}
	}
	return ""
}

// howAnswered names an answer for the counts.
func howAnswered(err error) string {
	switch state := notApplied(err); {
	case err == nil:
		return "as new as asked for"
	case saysDeleted(err):
		return "deleted"
	case state != "":
		return "not yet there (" + state + ")"
	default:
		return status.Code(err).String()
	}
}
