package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/proto"
)

// newLoyalty is a whole service: every new user gets 100 points, and those of a deleted user are gone.
func newLoyalty(db *sql.DB) (*inbox.Inbox, error) {
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS points (user_id TEXT PRIMARY KEY, points INTEGER NOT NULL)`); err != nil {
		return nil, err
	}
	return inbox.New(inbox.Config{Group: "loyalty", Topics: []string{"user_activity"}, DB: db},
		inbox.On(func(ctx context.Context, tx inbox.Tx, e bus.Event, _ *eventsv1.UserCreated) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO points VALUES($1, 100)`, e.Key)
			return err
		}),
		inbox.On(func(ctx context.Context, tx inbox.Tx, e bus.Event, _ *eventsv1.UserDeleted) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM points WHERE user_id = $1`, e.Key)
			return err
		}))
}

// A service of somebody who has read nothing but this: what it takes to learn of users, to wait for what one wrote,
// and to stop. It runs on the Recorder, a bus in memory; with bus.Open and "kafka://broker:9092" it runs on Kafka,
// unchanged.
func Example() {
	db, remove := tempDB()
	defer remove()
	b := bustest.NewRecorder()
	defer b.Close(context.Background())

	// What the owner of users publishes. Ann's creation comes twice, as may happen.
	ann := newEvent("ann", 1, &eventsv1.UserCreated{User: &eventsv1.User{Id: "ann", Version: 1}})
	err := b.Publish(context.Background(), "user_activity", ann, ann,
		newEvent("bob", 1, &eventsv1.UserCreated{User: &eventsv1.User{Id: "bob", Version: 1}}),
		newEvent("bob", 2, &eventsv1.UserDeleted{Id: "bob", Version: 2}))
	if err != nil {
		log.Fatal(err)
	}

	in, err := newLoyalty(db)
	if err != nil {
		log.Fatal(err)
	}
	// The service runs until its context ends; once Run has returned it has nothing in hand.
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- in.Run(ctx, b) }()

	// Read your own write: who was told by the owner that bob is at version 2 asks for no less.
	soon, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	fmt.Println("bob's deletion:", in.Await(soon, "/users", "bob", 2))
	fmt.Println("ann's creation:", in.Await(soon, "/users", "ann", 1))

	stop()
	fmt.Println("stopped:", <-stopped)

	var user string
	var points int
	if err := db.QueryRow(`SELECT user_id, points FROM points`).Scan(&user, &points); err != nil {
		log.Fatal(err)
	}
	fmt.Println(user, "has", points)
	// Output:
	// bob's deletion: <nil>
	// ann's creation: <nil>
	// stopped: <nil>
	// ann has 100
}

// newEvent makes an event of a user as the owner of users does.
func newEvent(key string, version uint64, m proto.Message) bus.Event {
	e, err := bus.NewEvent("/users", key, version, m)
	if err != nil {
		log.Fatal(err)
	}
	return e
}

// tempDB opens a database file of its own, as a service opens its one.
func tempDB() (db *sql.DB, remove func()) {
	dir, err := os.MkdirTemp("", "loyalty")
	if err != nil {
		log.Fatal(err)
	}
	db, err = sql.Open("sqlite3", "file:"+filepath.Join(dir, "loyalty.db")+
		"?_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000")
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}
