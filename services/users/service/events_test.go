package service_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/users/service"
)

func TestWhatIsNewOfAUserIsReadAndTold(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.Events = "v2,v1"
	r := start(t, cfg, servicetest.Over(rec))
	a := r.do("POST", "/v1/users", `{"email":"ilona@example.org","givenName":"Ilona","familyName":"Nagy","nameOrder":"NAME_ORDER_FAMILY_FIRST","displayName":"Ili","locale":"hu","phone":"+3612345678"}`)
	u := &usersv1.User{}
	if err := protojson.Unmarshal([]byte(a.body), u); err != nil || a.status != http.StatusCreated {
		t.Fatalf("POST answers %+v: %v", a, err)
	}
	got, err := r.get(u.GetId(), 1)
	if err != nil || got.String() != u.String() || got.GetName() != "Nagy Ilona" || got.GetFamilyName() != "Nagy" {
		t.Errorf("it reads as %v (%v), and was answered as %v", got, err, u)
	}
	r.do("PATCH", path(u), `{"givenName":"Nagy","familyName":"Ilona"}`) // of which v1 can't tell
	all, err := r.api.ListUsers(t.Context(), &usersv1.ListUsersRequest{})
	if err != nil || len(all.GetUsers()) != 1 || all.GetUsers()[0].GetGivenName() != "Nagy" || all.GetUsers()[0].GetPhone() != "+3612345678" {
		t.Errorf("they are listed as %v, %v", all, err)
	}
	published(t, rec, 4)
	one, two := bustest.Messages[*eventsv1.UserUpdated](rec, servicetest.Topic), bustest.Messages[*eventsv2.UserUpdated](rec, servicetest.Topic)
	if len(one) != 1 || len(two) != 1 || len(one[0].GetUpdateMask().GetPaths()) != 0 || fmt.Sprint(two[0].GetUpdateMask().GetPaths()) != "[name]" {
		t.Errorf("UserUpdated is %v and %v", one, two)
	}
	if name := two[0].GetUser().GetName(); name.GetGiven() != "Nagy" || name.GetFamily() != "Ilona" || one[0].GetUser().GetName() != "Nagy Ilona" {
		t.Errorf("the name is told as %v and %q", name, one[0].GetUser().GetName())
	}
}

// A relay sends the better one first, and of each key everything in order.
func TestTheVersionsThatAreToldGoWithTheFlagFromStartToStart(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	var id string
	var want []string
	for i, step := range []struct {
		events service.Events
		types  []string
	}{
		{"", []string{"v1"}}, {"v1", []string{"v1"}}, {"v2,v1", []string{"v2", "v1"}}, {"v2", []string{"v2"}},
	} {
		cfg.Events = step.events
		r := start(t, cfg, servicetest.Over(rec))
		kind := "UserUpdated"
		if i == 0 {
			id, kind = r.create("ada@example.org", "Ada").GetId(), "UserCreated"
		} else {
			r.do("PATCH", "/v1/users/"+id, fmt.Sprintf(`{"name":"Ada %d"}`, i))
		}
		for _, v := range step.types {
			want = append(want, fmt.Sprintf("users.events.%s.%s %d", v, kind, i+1))
		}
		events := published(t, rec, len(want))
		if got := told(events); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("with --events %q there are\n%s\nwant\n%s", step.events, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		r.Stop()
	}
}

func told(events []bus.Event) (all []string) {
	for _, e := range events {
		all = append(all, fmt.Sprintf("%s %d", e.Type, e.Version))
	}
	return all
}

func TestEventsThatCantBeToldAreUsageErrorsThatSayWhatToPass(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what is taken all the same ends at once
	for events, want := range map[string]string{
		"v3": `there is no version "v3"; pass v1, v2,v1 or v2`, "": `there is no version ""; pass`, "v2,": `there is no version ""; pass`,
		"v2, v1": `there is no version " v1"; pass`, "V1": `there is no version "V1"; pass`, "v1,v2": "goes first; pass v2,v1",
		"v1,v1": "v1 stands there twice; pass v1, v2,v1 or v2", "v2,v1,v2": "v2 stands there twice; pass",
	} {
		err := service.Main(ctx, program.IO{Name: "users", Args: []string{"--events", events}, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
		coded, ok := err.(interface{ ExitCode() int })
		if !ok || coded.ExitCode() != 2 || !strings.HasPrefix(err.Error(), fmt.Sprintf("--events %q: ", events)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", events, err, want)
		}
	}
	t.Setenv("TIDINGS_EVENTS", "v9")
	err := service.Main(ctx, program.IO{Name: "users", Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Args: []string{"--db", filepath.Join(t.TempDir(), "users.db")}})
	if coded, ok := err.(interface{ ExitCode() int }); !ok || coded.ExitCode() != 2 {
		t.Errorf("by the environment: %v", err)
	}
}
