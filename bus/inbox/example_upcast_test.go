package inbox_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// nameInParts is what v2 of the events says of a name that v1 has as one string.
func nameInParts(name string) *eventsv2.PersonName {
	if i := strings.LastIndexByte(name, ' '); i > 0 {
		return &eventsv2.PersonName{Given: name[:i], Family: name[i+1:]}
	}
	return &eventsv2.PersonName{Given: name}
}

// A service that keeps the family names of users, with one handler, for v2 of the events. The log holds both: Ada was
// created before there was a v2, Ilona while the owner published both twins, and Grace since v1 is no more.
func ExampleUpcast() {
	db, remove := tempDB()
	defer remove()
	if _, err := db.Exec(`CREATE TABLE families (user_id TEXT PRIMARY KEY, family TEXT NOT NULL)`); err != nil {
		log.Fatal(err)
	}
	b := bustest.NewRecorder()
	defer b.Close(context.Background())
	ilonaV1 := &eventsv1.UserCreated{User: &eventsv1.User{Id: "ilona", Name: "Nagy Ilona"}}
	ilonaV2 := &eventsv2.UserCreated{User: &eventsv2.User{Id: "ilona", Name: &eventsv2.PersonName{
		Given: "Ilona", Family: "Nagy", Order: eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST,
	}}}
	twins, err := bus.NewTwins("/users", "ilona", 1, ilonaV2, ilonaV1) // best first
	if err != nil {
		log.Fatal(err)
	}
	err = b.Publish(context.Background(), "user_activity",
		newEvent("ada", 1, &eventsv1.UserCreated{User: &eventsv1.User{Id: "ada", Name: "Ada Lovelace"}}),
		twins[0], twins[1],
		newEvent("grace", 1, &eventsv2.UserCreated{User: &eventsv2.User{Id: "grace", Name: &eventsv2.PersonName{Given: "Grace", Family: "Hopper"}}}))
	if err != nil {
		log.Fatal(err)
	}

	in, err := inbox.New(inbox.Config{Group: "families", Topics: []string{"user_activity"}, DB: db},
		inbox.On(func(ctx context.Context, tx inbox.Tx, e bus.Event, m *eventsv2.UserCreated) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO families VALUES($1, $2)`, e.Key, m.GetUser().GetName().GetFamily())
			return err
		}),
		// For as long as the log holds events of v1.
		inbox.Upcast(func(_ bus.Event, m *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
			return &eventsv2.UserCreated{User: &eventsv2.User{Id: m.GetUser().GetId(), Name: nameInParts(m.GetUser().GetName())}}, nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it reads", in.Types())
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- in.Run(ctx, b) }()
	for _, user := range []string{"ada", "ilona", "grace"} {
		if err := in.Await(ctx, "/users", user, 1); err != nil {
			log.Fatal(err)
		}
	}
	stop()
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}

	rows, err := db.Query(`SELECT user_id, family FROM families ORDER BY user_id`)
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var user, family string
		if err := rows.Scan(&user, &family); err != nil {
			log.Fatal(err)
		}
		fmt.Println(user, "is a", family)
	}
	// Output:
	// it reads [users.events.v1.UserCreated users.events.v2.UserCreated]
	// ada is a Lovelace
	// grace is a Hopper
	// ilona is a Nagy
}
