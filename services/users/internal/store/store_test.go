package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// clock ticks by one second and a bit at each look.
type clock struct{ now time.Time }

func (c *clock) tick() time.Time {
	c.now = c.now.Add(time.Second + 1234*time.Nanosecond)
	return c.now
}

func TestEachChangeIsToldByAnEventThatCarriesTheUserAsItIsThen(t *testing.T) {
	c := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("far", 3600))}
	f := open(t, func(cfg *store.Config) { cfg.Now = c.tick })
	made := f.created("ada@example.org", "Ada Byron")
	changed, err := f.Update(t.Context(), made.ID, store.Change{Name: ptr("Ada Lovelace"), Email: ptr("Ada@example.org")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := f.Update(t.Context(), made.ID, store.Change{Name: ptr("Countess"), Email: ptr("Ada@example.org")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	version, err := f.Delete(t.Context(), made.ID, nil)
	if err != nil || version != 4 {
		t.Fatalf("delete: version %d, %v", version, err)
	}
	gone := f.row(made.ID)

	user := func(u store.User) *eventsv1.User {
		return &eventsv1.User{Id: made.ID, Email: u.Email, Name: u.Name, Version: u.Version,
			CreateTime: timestamppb.New(made.CreateTime), UpdateTime: timestamppb.New(u.UpdateTime),
			DisplayName: ptr(""), Locale: ptr(""), Phone: ptr("")} // there, and empty: nobody has said any
	}
	want := []struct {
		at time.Time
		m  proto.Message
	}{
		{made.CreateTime, &eventsv1.UserCreated{User: user(made)}},
		{changed.UpdateTime, &eventsv1.UserUpdated{User: user(changed), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"email", "name"}}}},
		{renamed.UpdateTime, &eventsv1.UserUpdated{User: user(renamed), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"name"}}}},
		{gone.DeleteTime, &eventsv1.UserDeleted{Id: made.ID, Version: 4, DeleteTime: timestamppb.New(gone.DeleteTime)}},
	}
	events := f.published()
	if len(events) != len(want) {
		t.Fatalf("%d events, want %d", len(events), len(want))
	}
	for i, e := range events {
		w, err := bus.NewEvent("/users", made.ID, uint64(i+1), want[i].m)
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != w.ID || e.Source != "/users" || e.Key != made.ID || e.Version != uint64(i+1) || e.Type != w.Type || !e.Time.Equal(want[i].at) {
			t.Errorf("event %d is %+v, want %+v at %v", i, e, w, want[i].at)
		}
		m := want[i].m.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(e.Data, m); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want[i].m, m, protocmp.Transform()); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestWhatIsReturnedIsWhatIsStored(t *testing.T) {
	f := open(t, nil)
	made := f.created("ada@example.org", "Ada")
	if diff := cmp.Diff(made, f.row(made.ID)); diff != "" {
		t.Errorf("created and stored differ:\n%s", diff)
	}
	changed, err := f.Update(t.Context(), made.ID, store.Change{Name: ptr("B")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(changed, f.row(made.ID)); diff != "" {
		t.Errorf("changed and stored differ:\n%s", diff)
	}
	if changed.CreateTime != made.CreateTime || changed.UpdateTime.Before(made.UpdateTime) {
		t.Errorf("times went from %v to %v", made, changed)
	}
}

func TestAChangeThatChangesNothingHasNoVersionAndNoEvent(t *testing.T) {
	f := open(t, nil)
	u := f.created("ada@example.org", "Ada")
	for _, c := range []store.Change{{}, {Name: ptr("Ada")}, {Email: ptr("ada@example.org")}, {Name: ptr("Ada"), Email: ptr("ada@example.org")}} {
		got, err := f.Update(t.Context(), u.ID, c, at(1))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(u, got); diff != "" {
			t.Errorf("it was changed:\n%s", diff)
		}
	}
	if n := len(f.published()); n != 1 {
		t.Errorf("%d events, want the first alone", n)
	}
}

func TestATombstoneKeepsNothingOfThePerson(t *testing.T) {
	f := open(t, nil)
	u, err := f.Create(t.Context(), full("ada@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Delete(t.Context(), u.ID, nil); err != nil {
		t.Fatal(err)
	}
	if kept := f.texts(u.ID); kept != "" {
		t.Errorf("the row still has %q", kept)
	}
	got := f.row(u.ID)
	if !got.Deleted() || got.Version != 2 || got.CreateTime != u.CreateTime || got.UpdateTime != got.DeleteTime {
		t.Errorf("the tombstone is %+v", got)
	}
	if v, err := f.Delete(t.Context(), u.ID, at(1)); err != nil || v != 2 {
		t.Errorf("deleted again: %d, %v", v, err)
	}
	if diff := cmp.Diff(got, f.row(u.ID)); diff != "" {
		t.Errorf("the second delete changed the tombstone:\n%s", diff)
	}
	if n := len(f.published()); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

func TestRefusals(t *testing.T) {
	f := open(t, nil)
	ada, grace, gone := f.created("ada@example.org", "Ada"), f.created("grace@example.org", "Grace"), f.created("x@example.org", "X")
	if _, err := f.Delete(t.Context(), gone.ID, nil); err != nil {
		t.Fatal(err)
	}
	const nobody = "01890000-0000-7000-8000-000000000000"
	notFound := func(err error) bool { return errors.Is(err, store.ErrNotFound) }
	holder := func(id string) func(error) bool {
		return func(err error) bool {
			var e *store.InUseError
			return errors.As(err, &e) && e.ID == id
		}
	}
	version := func(v uint64) func(error) bool {
		return func(err error) bool {
			var e *store.PreconditionError
			return errors.As(err, &e) && e.Version == v
		}
	}
	update := func(id string, c store.Change, when *store.Precondition) error {
		_, err := f.Update(t.Context(), id, c, when)
		return err
	}
	remove := func(id string, when *store.Precondition) error {
		_, err := f.Delete(t.Context(), id, when)
		return err
	}
	create := func(email string) error {
		_, err := f.Create(t.Context(), named(email, "X"))
		return err
	}
	_, getErr := f.Get(t.Context(), nobody)
	for name, test := range map[string]struct {
		err error
		is  func(error) bool
	}{
		"create with an address in use":        {create("ADA@example.org"), holder(ada.ID)},
		"change to an address in use":          {update(grace.ID, store.Change{Email: ptr("Ada@Example.org")}, nil), holder(ada.ID)},
		"change of nobody":                     {update(nobody, store.Change{Name: ptr("A")}, nil), notFound},
		"change of nobody at a version":        {update(nobody, store.Change{Name: ptr("A")}, at(1)), notFound},
		"change of the deleted":                {update(gone.ID, store.Change{Name: ptr("A")}, nil), notFound},
		"change of the deleted at its version": {update(gone.ID, store.Change{Name: ptr("A")}, at(2)), notFound},
		"change at another version":            {update(ada.ID, store.Change{Name: ptr("A")}, at(2, 0)), version(1)},
		"the version goes before the address":  {update(grace.ID, store.Change{Email: ptr("ada@example.org")}, at(9)), version(1)},
		"nothing changed, at another version":  {update(ada.ID, store.Change{}, at()), version(1)},
		"delete of nobody":                     {remove(nobody, nil), notFound},
		"delete at another version":            {remove(ada.ID, at(2)), version(1)},
		"delete again at another version":      {remove(gone.ID, at(3, 0)), version(2)},
		"get of nobody":                        {getErr, notFound},
	} {
		if !test.is(test.err) {
			t.Errorf("%s: %v", name, test.err)
		}
	}
	if n := len(f.published()); n != 4 {
		t.Errorf("%d events, want 4: refusals are told to nobody", n)
	}
}

func TestAnAddressThatWasGivenUpMayBeTaken(t *testing.T) {
	f := open(t, nil)
	ada, grace := f.created("ada@example.org", "Ada"), f.created("grace@example.org", "Grace")
	if _, err := f.Update(t.Context(), ada.ID, store.Change{Email: ptr("new@example.org")}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Update(t.Context(), grace.ID, store.Change{Email: ptr("ADA@example.org")}, nil); err != nil {
		t.Errorf("after a change: %v", err)
	}
	if _, err := f.Delete(t.Context(), grace.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create(t.Context(), named("ada@example.org", "Another")); err != nil {
		t.Errorf("after a delete: %v", err)
	}
}

func TestListGoesThroughAllThatAreNotDeletedInPages(t *testing.T) {
	f := open(t, nil)
	var want []string
	for i := range 25 {
		u := f.created(fmt.Sprintf("%d@example.org", i), "A")
		if i%5 == 2 {
			if _, err := f.Delete(t.Context(), u.ID, nil); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want = append(want, u.ID)
	}
	for _, size := range []int{1, 7, 20, 100} {
		var got []string
		for after := ""; ; {
			users, err := f.List(t.Context(), after, size)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range users {
				after = u.ID
				got = append(got, u.ID)
			}
			if len(users) < size {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", size, got, want)
		}
	}
}

func TestAClockThatStepsBackChangesNoOrder(t *testing.T) {
	now := time.Now()
	f := open(t, func(cfg *store.Config) { cfg.Now = func() time.Time { now = now.Add(-time.Hour); return now } })
	u := f.created("ada@example.org", "Ada")
	for i := range 3 {
		if _, err := f.Update(t.Context(), u.ID, store.Change{Name: ptr(fmt.Sprint(i))}, at(uint64(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range f.published() {
		if e.Version != uint64(i+1) {
			t.Errorf("event %d has version %d", i, e.Version)
		}
	}
}

func TestFold(t *testing.T) {
	for _, pair := range [][2]string{{"Ada@Example.ORG", "ada@example.org"}, {"STRASSE@x", "straße@x"}, {"ΣΊΣΥΦΟΣ@x", "σίσυφος@x"}, {"ПЁТР@x", "пётр@x"}, {"e\u0301lodie@x", "Élodie@x"}} {
		if store.Fold(pair[0]) != store.Fold(pair[1]) {
			t.Errorf("%q and %q are kept apart: %q, %q", pair[0], pair[1], store.Fold(pair[0]), store.Fold(pair[1]))
		}
	}
	for _, s := range []string{"ada@example.org", "straße@x", "ΣΊΣΥΦΟΣ@x"} {
		if once := store.Fold(s); store.Fold(once) != once {
			t.Errorf("folding %q twice gives another result", s)
		}
	}
}

func TestParseID(t *testing.T) {
	const id = "01890000-0000-7000-8000-00000000abcd"
	for _, s := range []string{id, "01890000-0000-7000-8000-00000000ABCD"} {
		if got, ok := store.ParseID(s); !ok || got != id {
			t.Errorf("%q is %q, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "x", "urn:uuid:" + id, "{" + id + "}", "0189000000007000800000000000abcd", id + " ", id[:35], "01890000-0000-7000-8000-00000000abcg"} {
		if got, ok := store.ParseID(s); ok {
			t.Errorf("%q is taken for %q", s, got)
		}
	}
}
