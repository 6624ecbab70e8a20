package compat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/bus/outbox"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	audit "github.com/tidings-dev/tidings/services/audit/service"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

const typeUpdated = "users.events.v1.UserUpdated"

// newer makes an event of today, with what 0.1.0 did not know, and in it what even today's program does not.
func newer(t testing.TB, key string, v uint64) bus.Event {
	t.Helper()
	u := &eventsv1.User{
		Id: key, Email: "ada@example.com", Name: fmt.Sprint("Ada ", v), Version: v,
		DisplayName: proto.String("Countess"), Locale: proto.String("en-GB"), Phone: proto.String(""),
	}
	u.ProtoReflect().SetUnknown(later("inside"))
	m := &eventsv1.UserUpdated{User: u}
	m.ProtoReflect().SetUnknown(later("beside"))
	e := servicetest.Event(t, key, v, m)
	e.Ext = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "somebodys": "own"}
	return e
}

// twins are the two events of one change, best first.
func twins(t testing.TB, key string, v uint64) []bus.Event {
	t.Helper()
	better := servicetest.Event(t, key, v, &eventsv2.UserUpdated{User: &eventsv2.User{
		Id: key, Name: &eventsv2.PersonName{Given: "Ada", Family: fmt.Sprint(v), Order: future}, Version: v,
	}})
	pair := []bus.Event{better, newer(t, key, v)}
	for i := range pair {
		pair[i].Ext = map[string]string{"alternatives": better.Type + "," + typeUpdated}
	}
	return pair
}

// sameBytes fails the test where e is not what was published, to the byte and with every attribute.
func sameBytes(t testing.TB, what string, got, want bus.Event) {
	t.Helper()
	if !bytes.Equal(got.Data, want.Data) {
		t.Errorf("%s: %d bytes of %s are others: %x, were %x", what, len(got.Data), got.Type, got.Data, want.Data)
	}
	got.At, want.At = bus.Position{}, bus.Position{}
	if !bytes.Equal(got.AppendEnvelope(nil), want.AppendEnvelope(nil)) {
		t.Errorf("%s: the envelope is %+v, and was %+v", what, got, want)
	}
}

// openDB opens a database of the test's own, as a service of anybody has one.
func openDB(t testing.TB, name string) *database.DB {
	t.Helper()
	return servicetest.OpenDatabase(t, servicetest.DSN(t, name), name)
}

// runInbox runs a consumer until stop is called, or the test ends.
func runInbox(t testing.TB, db *database.DB, b bus.Bus, routes ...inbox.Route) (in *inbox.Inbox, stop func()) {
	t.Helper()
	in, err := inbox.New(inbox.Config{
		Group: "older", Topics: []string{servicetest.Topic}, DB: db.DB, Gaps: inbox.Every, Logger: slog.New(slog.DiscardHandler),
	}, routes...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, b) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return in, stop
}

// await waits until the consumer has applied a version of a key.
func await(t testing.TB, in *inbox.Inbox, key string, version uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	defer cancel()
	if err := in.Await(ctx, "/users", key, version); err != nil {
		t.Fatal(err)
	}
}

// An older consumer that keeps what it reads, both ways there are: the bytes that came, and its own message encoded
// again.
func TestAnOlderConsumerReadsNewerEventsAndKeepsWhatItDoesNotKnow(t *testing.T) {
	old, rec := older(t), bustest.NewRecorder()
	var mu sync.Mutex
	var came []bus.Event
	var again [][]byte
	in, stop := runInbox(t, openDB(t, "older"), rec, inbox.Batch(func(_ context.Context, _ inbox.Tx, batch []bus.Event) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			m := old.message(t, typeUpdated)
			if err := proto.Unmarshal(e.Data, m); err != nil {
				return err
			}
			if name := get(t, m, "user", "name").String(); name != fmt.Sprint("Ada ", e.Version) {
				return fmt.Errorf("it reads the name %q", name)
			}
			came, again = append(came, e), append(again, marshal(t, m))
		}
		return nil
	}, old.message(t, typeUpdated)))

	published := []bus.Event{newer(t, "k", 1)}
	pair := twins(t, "k", 2)
	unheardOf := servicetest.Event(t, "k", 3, &eventsv2.UserUpdated{User: &eventsv2.User{Id: "k"}}) // without a twin
	published = append(published, pair[1], newer(t, "k", 4))
	servicetest.Publish(t, rec, published[0], pair[0], pair[1], unheardOf, published[2])
	await(t, in, "k", 4)
	stop()

	if len(came) != len(published) {
		t.Fatalf("it read %d events, want %d", len(came), len(published))
	}
	for i, e := range came {
		sameBytes(t, "what an older consumer reads", e, published[i])
		// An upgrade that reads what the older one has encoded finds everything.
		kept, want := &eventsv1.UserUpdated{}, &eventsv1.UserUpdated{}
		if err := errors.Join(proto.Unmarshal(again[i], kept), proto.Unmarshal(published[i].Data, want)); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(kept, want) || kept.GetUser().GetDisplayName() != "Countess" || !bytes.Equal(kept.GetUser().ProtoReflect().GetUnknown(), later("inside")) {
			t.Errorf("an upgrade finds %v of %v", kept, want)
		}
	}
	s, err := in.Status(t.Context())
	if err != nil || s.Parked != 0 || s.Dead != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
}

// What an older service forwards through an outbox of its own is what came.
func TestAnOutboxForwardsWhatItsServiceDoesNotKnow(t *testing.T) {
	old, rec, db := older(t), bustest.NewRecorder(), openDB(t, "forwarder")
	ob, err := outbox.New(t.Context(), db.DB, outbox.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ob.Relay(ctx, rec) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	runInbox(t, db, rec, inbox.Batch(func(ctx context.Context, tx inbox.Tx, batch []bus.Event) error {
		defer ob.Wake()
		return ob.Add(ctx, tx, "forwarded", batch...)
	}, old.message(t, typeUpdated)))
	published := []bus.Event{newer(t, "k", 1), newer(t, "k", 2)}
	servicetest.Publish(t, rec, published...)
	waiting, done := context.WithTimeout(t.Context(), servicetest.Soon)
	defer done()
	forwarded, err := rec.WaitPublished(waiting, "forwarded", 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range forwarded {
		e.Seq, e.SeqLog = 0, ""
		sameBytes(t, "what is forwarded", e, published[i])
	}
}

// An event that an older consumer can't take waits for the upgrade, which finds in it what its predecessor never knew.
func TestWhatAnOlderConsumerParksIsWholeForItsUpgrade(t *testing.T) {
	old, rec, db := older(t), bustest.NewRecorder(), openDB(t, "parked")
	want := newer(t, "k", 1)
	in, stop := runInbox(t, db, rec, inbox.Batch(func(context.Context, inbox.Tx, []bus.Event) error {
		return bus.RetryAfter(time.Hour, errors.New("this release can't take it"))
	}, old.message(t, typeUpdated)))
	servicetest.Publish(t, rec, want)
	servicetest.Await(t, servicetest.Soon, 2*time.Millisecond, "the event is parked", func() (bool, any) {
		s, err := in.Status(t.Context())
		return err == nil && s.Parked == 1, s
	})
	stop()

	parking, err := inbox.OpenParking(t.Context(), db.DB)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parking.List(t.Context(), inbox.Filter{})
	if err != nil || len(rows) != 1 {
		t.Fatalf("parked %v, %v", rows, err)
	}
	row, err := parking.Get(t.Context(), rows[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := bus.ParseEnvelope(row.Raw)
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "what is parked", kept, want)

	if n, err := parking.Retry(t.Context(), row.ID); n != 1 || err != nil {
		t.Fatalf("retried %d, %v", n, err)
	}
	var got *eventsv1.User
	var came bus.Event
	in, stop = runInbox(t, db, rec, inbox.On(func(_ context.Context, _ inbox.Tx, e bus.Event, m *eventsv1.UserUpdated) error {
		got, came = m.GetUser(), e
		return nil
	}))
	await(t, in, "k", 1)
	stop()
	sameBytes(t, "what the upgrade takes", came, want)
	if got.GetDisplayName() != "Countess" || got.Phone == nil || !bytes.Equal(got.ProtoReflect().GetUnknown(), later("inside")) {
		t.Errorf("the upgrade finds %v", got)
	}
}

// The audit looks into nothing that it keeps: fields, types and enum numbers of the future are there when asked for.
func TestTheAuditKeepsWhatItDoesNotKnow(t *testing.T) {
	rec := bustest.NewRecorder()
	cfg := audit.Config{Common: servicetest.Common(t, "audit")}
	r := servicetest.Start(t, servicetest.Over(rec), func(env lifecycle.Env) *lifecycle.Runner { return audit.New(cfg, env) })
	id := servicetest.NewID()
	odd := servicetest.Event(t, id, 2, &eventsv2.UserUpdated{User: &eventsv2.User{Name: &eventsv2.PersonName{Given: "Ada", Order: future}}})
	unheardOf := newer(t, id, 3)
	unheardOf.Type = "users.events.v9.UserMoved"
	published := []bus.Event{newer(t, id, 1), odd, unheardOf}
	servicetest.Publish(t, rec, published...)
	r.CaughtUp()
	resp, err := auditv1.NewAuditServiceClient(r.Conn).ListUserEvents(r.Context(), &auditv1.ListUserEventsRequest{UserId: id})
	if err != nil || len(resp.GetEntries()) != len(published) {
		t.Fatalf("got %v, %v", resp, err)
	}
	for i, entry := range resp.GetEntries() {
		if got, want := entry.GetEvent(), published[i]; !bytes.Equal(got.GetData(), want.Data) || got.GetType() != want.Type {
			t.Errorf("it keeps %v of %+v", got, want)
		}
	}
	if text := strings.ReplaceAll(resp.GetEntries()[1].GetEvent().GetJson(), " ", ""); !strings.Contains(text, fmt.Sprintf(`"order":%d`, future)) {
		t.Errorf("as JSON it tells %s", text)
	}
}

// A twin of what is done, in whichever order the two come: an older consumer takes each change once.
func TestAnOlderConsumerTakesOneTwin(t *testing.T) {
	old, rec := older(t), bustest.NewRecorder()
	var took []uint64
	in, stop := runInbox(t, openDB(t, "twins"), rec, inbox.Batch(func(_ context.Context, _ inbox.Tx, batch []bus.Event) error {
		for _, e := range batch {
			took = append(took, e.Version)
		}
		return nil
	}, old.message(t, typeUpdated)))
	for v := range uint64(3) {
		pair := twins(t, "k", v+1)
		if v == 1 {
			slices.Reverse(pair)
		}
		servicetest.Publish(t, rec, append(pair, pair...)...)
	}
	await(t, in, "k", 3)
	stop()
	if !slices.Equal(took, []uint64{1, 2, 3}) {
		t.Errorf("it took %v", took)
	}
}
