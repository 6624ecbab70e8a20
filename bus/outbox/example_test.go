package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/outbox"
)

// rename is a write of the owner: the row and its event, in one transaction.
func rename(ctx context.Context, ob *outbox.Outbox, id, name string) error {
	return ob.InTx(ctx, func(ctx context.Context, tx outbox.Tx) error {
		var version uint64
		err := tx.QueryRowContext(ctx, `INSERT INTO users (id, name, version) VALUES ($1, $2, 1)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = users.version + 1
			RETURNING version`, id, name).Scan(&version)
		if err != nil {
			return err
		}
		e, err := bus.NewEvent("/users", id, version, wrapperspb.String(name))
		if err != nil {
			return err
		}
		return ob.Add(ctx, tx, "user_activity", e)
	})
}

// An owner opens its database, starts the relay, writes, and stops: the relay first, and then the bus.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "users.db")+
		"?_txlock=immediate&_busy_timeout=10000&_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT, version INTEGER)`); err != nil {
		log.Fatal(err)
	}

	ob, err := outbox.New(ctx, db, outbox.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	b := bustest.NewRecorder() // elsewhere: bus.Open(ctx, url, kafka.Backend())
	relayCtx, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- ob.Relay(relayCtx, b) }()

	for _, name := range []string{"Ada", "Ada Lovelace"} {
		if err := rename(ctx, ob, "42", name); err != nil {
			log.Fatal(err)
		}
	}

	events, err := b.WaitPublished(ctx, "user_activity", 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range events {
		name, err := bus.Decode[*wrapperspb.StringValue](e)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Source, e.Key, e.Version, name.GetValue())
	}
	stop()
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
	if err := b.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /users 42 1 Ada
	// /users 42 2 Ada Lovelace
}
