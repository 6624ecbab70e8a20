package service_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// ways are how an owner may tell of a change.
var ways = [][]servicetest.API{{servicetest.V1}, {servicetest.V2, servicetest.V1}, {servicetest.V2}}

// get reads one person.
func (r *running) get(id string) *directoryv1.Person {
	r.t.Helper()
	resp, err := r.api.GetPerson(r.Context(), &directoryv1.GetPersonRequest{Id: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.GetPerson()
}

// rows is what the directory's tables hold of everybody, a line a person, but for the numbers that nobody sees.
func rows(t *testing.T, cfg service.Config) []string {
	t.Helper()
	db, err := database.OpenBeside(t.Context(), cfg.DB, database.ForService("directory"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.QueryContext(t.Context(), `SELECT p.id, p.version, p.deleted, p.email, p.name, p.create_time, p.update_time,
		p.terms, p.display_name, p.locale, p.phone, p.given_name, p.family_name, p.name_order,
		(SELECT COUNT(*) FROM terms t WHERE t.person = p.no) FROM people p ORDER BY p.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var all []string
	for found.Next() {
		columns := make([]sql.NullString, 15)
		dest := make([]any, len(columns))
		for i := range columns {
			dest[i] = &columns[i]
		}
		if err := found.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(columns)) // NULL is { false}, and what is empty { true}
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAPersonIsTheSameInWhicheverVersionTheEventsCome(t *testing.T) {
	for _, as := range ways {
		t.Run(fmt.Sprint(as), func(t *testing.T) {
			rec := bustest.NewRecorder()
			r := start(t, newConfig(t), servicetest.Over(rec))
			ada, alan := servicetest.NewUser("ada@example.org", "Ada Byron"), servicetest.NewUser("alan@example.org", "Alan")
			servicetest.Publish(t, rec, slices.Concat(ada.CreatedAs(t, as...), alan.CreatedAs(t, as...))...)
			ada.Name, ada.DisplayName, ada.Locale, ada.Phone = "Ada Augusta Lovelace", new("Countess"), new(""), new("+441")
			servicetest.Publish(t, rec, slices.Concat(ada.UpdatedAs(t, as...), alan.DeletedAs(t, as...))...)
			s := r.at(4)
			if s.Count != 1 || s.Keys != 2 || s.Missing+s.Parked+s.Dead+s.Ignored != 0 {
				t.Errorf("status %+v", s)
			}
			m := ada.Message()
			want := &directoryv1.Person{
				Id: ada.ID, Email: ada.Email, Name: ada.Name, Version: 2, CreateTime: m.GetCreateTime(), UpdateTime: m.GetUpdateTime(),
				DisplayName: new("Countess"), Locale: new(""), Phone: new("+441"), GivenName: new("Ada Augusta"), FamilyName: new("Lovelace"),
			}
			if diff := cmp.Diff(want, r.get(ada.ID), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if names, total := r.names("count", 50); !slices.Equal(names, []string{ada.Name}) || total != 1 {
				t.Errorf("the display name finds %q of %d", names, total)
			}
		})
	}
}

// The parts of a name are known from v2 alone, and an order that nobody here has a name for is passed on.
func TestAPersonHasThePartsThatV2Tells(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	u := servicetest.NewUser("ilona@example.org", "Nagy Ilona")
	for order, name := range map[eventsv2.NameOrder]string{eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST: "Nagy Ilona", 4711: "Ilona Nagy"} {
		u.Parts = &eventsv2.PersonName{Given: "Ilona", Family: "Nagy", Order: order}
		servicetest.Publish(t, rec, u.UpdatedAs(t, servicetest.V2)...)
		r.CaughtUp()
		got := r.get(u.ID)
		if got.GetName() != name || got.GetGivenName() != "Ilona" || got.GetFamilyName() != "Nagy" || int32(got.GetNameOrder()) != int32(order) {
			t.Errorf("order %d: %v, want %s", order, got, name)
		}
	}
}

// What an event does not tell of stays; what it says to be empty goes, and can't be found by any more.
func TestAnOlderProducerWipesNothing(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	ada := servicetest.NewUser("ada@example.org", "Ada")
	for _, step := range []struct {
		display, want *string
		found         int32
	}{{nil, nil, 0}, {new("Countess"), new("Countess"), 1}, {nil, new("Countess"), 1}, {new(""), new(""), 0}, {nil, new(""), 0}} {
		ada.DisplayName = step.display
		servicetest.Publish(t, rec, ada.UpdatedAs(t, servicetest.V1)...)
		r.CaughtUp()
		if diff := cmp.Diff(step.want, r.get(ada.ID).DisplayName); diff != "" {
			t.Errorf("version %d: %s", ada.Version, diff)
		}
		if _, total := r.names("countess", 50); total != step.found {
			t.Errorf("version %d: found %d", ada.Version, total)
		}
	}
}

// mixed is a log of some users' lives, each change told in one way or the other, and of what not each producer knows.
func mixed(t *testing.T, rnd *rand.Rand) (log []bus.Event) {
	t.Helper()
	some := func(text string) *string { return []*string{nil, new(""), &text}[rnd.IntN(3)] }
	users := make([]*servicetest.User, 12)
	gone := make([]bool, len(users))
	for i := range users {
		users[i] = servicetest.NewUser(fmt.Sprintf("u%d@example.org", i), "Some One")
		log = append(log, users[i].CreatedAs(t, ways[rnd.IntN(3)]...)...)
	}
	for range 120 {
		i := rnd.IntN(len(users))
		u, as := users[i], ways[rnd.IntN(3)]
		if gone[i] {
			continue
		}
		if gone[i] = rnd.IntN(30) == 0; gone[i] {
			log = append(log, u.DeletedAs(t, as...)...)
			continue
		}
		u.Name = []string{"Some One", "One", "Some One Else"}[rnd.IntN(3)]
		u.DisplayName, u.Locale, u.Phone = some(fmt.Sprint("Display", rnd.IntN(3))), some("de-CH"), some("+41443643232")
		u.Parts = nil
		if rnd.IntN(2) == 0 {
			u.Parts = &eventsv2.PersonName{Given: "Some", Family: "One", Order: eventsv2.NameOrder(rnd.IntN(5))}
			u.Name = "Some One"
		}
		e := u.UpdatedAs(t, as...)
		if rnd.IntN(4) == 0 {
			e[0] = servicetest.Later(t, e[0])
		}
		log = append(log, e...)
	}
	return log
}

// However it came to where it is, in small batches, with a restart, or at once, a directory holds the same rows.
func TestALogOfMixedVersionsGivesWhatAFreshDirectoryReads(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 2))
	rec, cfg := bustest.NewRecorder(bustest.WithPartitions(3)), newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	log := mixed(t, rnd)
	for half := range 2 {
		for rest := log[half*len(log)/2 : (half+1)*len(log)/2]; len(rest) > 0; {
			n := min(1+rnd.IntN(6), len(rest))
			servicetest.Publish(t, rec, rest[:n]...)
			rest = rest[n:]
		}
		if half == 0 {
			r.Stop()
			r = start(t, cfg, servicetest.Over(rec))
		}
	}
	if s := r.CaughtUp(); s.Missing+s.Parked+s.Dead+s.Ignored != 0 {
		t.Errorf("status %+v", s)
	}
	want := rows(t, cfg)
	fresh := newConfig(t)
	start(t, fresh, servicetest.Over(rec)).CaughtUp()
	if diff := cmp.Diff(want, rows(t, fresh)); diff != "" || len(want) != 12 {
		t.Errorf("%d people; %s", len(want), diff)
	}
}

// Rows of before 0.2.0 are served without what they lack, and a rebuild reads it from the log.
func TestARebuildFillsInWhatAnOlderReleaseHasNotStored(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	r := start(t, cfg, servicetest.Over(rec))
	ada := servicetest.NewUser("ada@example.org", "Ada Lovelace")
	ada.DisplayName = new("Countess")
	servicetest.Publish(t, rec, ada.CreatedAs(t, servicetest.V1)...)
	r.at(1)
	want := rows(t, cfg)
	db, err := database.OpenBeside(t.Context(), cfg.DB, database.ForService("directory"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{
		`UPDATE people SET display_name = NULL, given_name = NULL, family_name = NULL, name_order = NULL, terms = '` + "ada\nada@example.org\nlovelace'",
		`DELETE FROM terms WHERE term = 'countess'`,
	} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	m := ada.Message()
	old := &directoryv1.Person{Id: ada.ID, Email: ada.Email, Name: ada.Name, Version: 1, CreateTime: m.GetCreateTime(), UpdateTime: m.GetUpdateTime()}
	if diff := cmp.Diff(old, r.get(ada.ID), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if err := service.Rebuild(t.Context(), db.DB); err != nil {
		t.Fatal(err)
	}
	r.at(1)
	if diff := cmp.Diff(want, rows(t, cfg)); diff != "" {
		t.Error(diff)
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A release that could not read v2 has counted events of v2 alone as done. Only a rebuild brings them back, and the next
// release says so.
func TestAReleaseThatReadsV2SaysThatARebuildIsDueForWhatWasIgnored(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	ada := servicetest.NewUser("ada@example.org", "Ada")
	servicetest.Publish(t, rec, ada.CreatedAs(t, servicetest.V2)...)
	readAsOlder(t, rec, cfg, func(s inbox.Status) bool { return s.Ignored == 1 })
	var said lines
	servicetest.Start(t, servicetest.Over(rec), func(env lifecycle.Env) *lifecycle.Runner {
		env.Log = slog.New(slog.NewTextHandler(&said, nil))
		return service.New(cfg, env)
	}).CaughtUp()
	if !strings.Contains(said.String(), "a rebuild is due") || !strings.Contains(said.String(), "users.events.v2.UserCreated") {
		t.Errorf("the log says %s", said.String())
	}
}

// readAsOlder reads as a directory did that knew v1 alone, until it has come so far.
func readAsOlder(t *testing.T, rec *bustest.Recorder, cfg service.Config, far func(inbox.Status) bool) {
	t.Helper()
	db, err := database.Open(t.Context(), cfg.DB, slog.New(slog.DiscardHandler), database.ForService("directory"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), store.Migrations); err != nil {
		t.Fatal(err)
	}
	st := store.New(db)
	older := inbox.Batch(func(ctx context.Context, tx inbox.Tx, batch []bus.Event) error {
		for _, e := range batch {
			if err := st.Apply(ctx, tx, []store.Person{{ID: e.Key, Version: e.Version, Name: "as v1 said"}}); err != nil {
				return err
			}
		}
		return nil
	}, &eventsv1.UserCreated{}, &eventsv1.UserUpdated{})
	in, err := inbox.New(inbox.Config{Group: "directory", Topics: []string{cfg.Topic}, DB: db.DB, Logger: slog.New(slog.DiscardHandler)}, older)
	if err != nil {
		t.Fatal(err)
	}
	b, err := servicetest.Over(rec)(t.Context(), "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, b) }()
	servicetest.Await(t, servicetest.Soon, servicetest.Soon/5000, "the older release has read all", func() (bool, any) {
		s, err := in.Status(t.Context())
		return err == nil && far(s), s
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Between two releases, of which one reads v1 alone, no change is taken twice and none is left out.
func TestAnUpgradeAndADowngradeBetweenTwinsTakeEachChangeOnce(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	ada := servicetest.NewUser("ada@example.org", "Ada Lovelace")
	twins := ada.CreatedAs(t, servicetest.V2, servicetest.V1)
	servicetest.Publish(t, rec, twins[0])
	readAsOlder(t, rec, cfg, func(s inbox.Status) bool { return s.Lag == 0 && s.Keys == 0 && s.Ignored == 0 }) // passed over
	servicetest.Publish(t, rec, twins[1])
	r := start(t, cfg, servicetest.Over(rec))
	if s := r.at(1); s.Missing != 0 || r.get(ada.ID).GetName() != "Ada Lovelace" {
		t.Errorf("status %+v", s)
	}
	twins = ada.UpdatedAs(t, servicetest.V2, servicetest.V1)
	servicetest.Publish(t, rec, twins[0])
	r.at(2)
	r.Stop()
	servicetest.Publish(t, rec, twins[1])
	readAsOlder(t, rec, cfg, func(s inbox.Status) bool { return s.Lag == 0 && s.Versions == 2 && s.Duplicates == 1 })
	r = start(t, cfg, servicetest.Over(rec))
	if s := r.at(2); s.Missing != 0 || r.get(ada.ID).GetName() != "Ada Lovelace" {
		t.Errorf("status %+v: v1 was taken after v2", s)
	}
}

// What a later release has added disturbs nobody.
func TestEventsOfALaterReleaseAreReadAsFarAsTheyAreKnown(t *testing.T) {
	for _, as := range ways {
		rec := bustest.NewRecorder()
		r := start(t, newConfig(t), servicetest.Over(rec))
		ada := servicetest.NewUser("ada@example.org", "Ada Lovelace")
		events := slices.Concat(ada.CreatedAs(t, as...), ada.UpdatedAs(t, as...))
		for i := range events {
			events[i] = servicetest.Later(t, events[i])
		}
		servicetest.Publish(t, rec, events...)
		s := r.at(2)
		got, order := r.get(ada.ID), directoryv1.NameOrder(0)
		if as[0] == servicetest.V2 {
			order = servicetest.LaterNumber
		}
		if got.GetName() != "Ada Lovelace" || got.GetNameOrder() != order || s.Dead+s.Parked != 0 || len(proto.Message(got).ProtoReflect().GetUnknown()) != 0 {
			t.Errorf("%v: %v, status %+v", as, got, s)
		}
	}
}

// An owner that goes back to v1 tells no parts any more: those that are known stay for as long as the name does.
func TestAnOwnerThatGoesBackToV1WipesNoParts(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, newConfig(t), servicetest.Over(rec))
	u := servicetest.NewUser("ilona@example.org", "Nagy Ilona")
	u.Parts = &eventsv2.PersonName{Given: "Ilona", Family: "Nagy", Order: eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST}
	for _, step := range []struct {
		as                  []servicetest.API
		name, given, family string
		order               int32
	}{
		{ways[1], "Nagy Ilona", "Ilona", "Nagy", 2},
		{ways[0], "Nagy Ilona", "Ilona", "Nagy", 2},
		{ways[0], "Kiss Ilona", "Kiss", "Ilona", 0},
	} {
		u.Name, u.Phone = step.name, new(fmt.Sprint("+3612345", u.Version))
		servicetest.Publish(t, rec, u.UpdatedAs(t, step.as...)...)
		r.CaughtUp()
		got := r.get(u.ID)
		if got.GetName() != step.name || got.GetGivenName() != step.given || got.GetFamilyName() != step.family || int32(got.GetNameOrder()) != step.order {
			t.Errorf("told as %v: %v, want %+v", step.as, got, step)
		}
	}
}
