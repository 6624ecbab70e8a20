package schemagate_test

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	"github.com/tidings-dev/tidings/services/tidings/internal/schemagate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// usersTypes are what the consumers of users' events read; the audit takes every type.
func usersTypes() []string {
	var all []string
	for _, v := range readVersions {
		for _, what := range []string{"UserCreated", "UserUpdated", "UserDeleted"} {
			all = append(all, "users.events."+v+"."+what)
		}
	}
	return all
}

// readVersions are the versions of users' events that they read.
var readVersions = []string{"v1", "v2"}

// consumer is a service that reads golden events.
type consumer struct {
	*servicetest.Running
	reads []string // types; "*" is every one
}

func (c *consumer) can(typ string) bool {
	return slices.Contains(c.reads, typ) || slices.Contains(c.reads, "*")
}

// fate is what a consumer makes of the events of one key.
type fate struct {
	taken   []bus.Event
	ignored int64 // that nothing makes up for
}

// expect says what becomes of a key's events, in their order: of one version the first is taken that can be read, and is
// the mark; what can't be read is passed over, with a mark unless it names another type that can.
func (c *consumer) expect(events []bus.Event) (f fate) {
	mark := uint64(0)
	for _, e := range events {
		twins := strings.Split(e.Ext["alternatives"], ",")
		switch {
		case e.Source != "/users":
			f.ignored++
		case e.Version <= mark:
		case c.can(e.Type):
			f.taken = append(f.taken, e)
			mark = e.Version
		case slices.ContainsFunc(twins, c.can):
		default:
			f.ignored++
			mark = e.Version
		}
	}
	return f
}

// histories are the golden events, each behind those versions of its key that a recorded event begins after. Those of
// one version are in the order in which they are published: best first.
func histories(t *testing.T) map[string][]bus.Event {
	t.Helper()
	all := map[string][]bus.Event{}
	for _, g := range corpus(t) {
		e, _, err := g.Events()
		if err != nil {
			t.Fatal(err)
		}
		all[e.Key] = append(all[e.Key], e)
	}
	for key, events := range all {
		slices.SortFunc(events, func(a, b bus.Event) int {
			return cmp.Or(cmp.Compare(a.Version, b.Version), -strings.Compare(a.Type, b.Type))
		})
		if events[0].Version > schemagate.MaxVersion {
			t.Fatalf("%s is version %d; schema check says what to do", events[0].ID, events[0].Version)
		}
		before := &servicetest.User{ID: key, Email: key + "@example.org", Name: "Before"}
		var filling []bus.Event
		for before.Version+1 < events[0].Version {
			if before.Version == 0 {
				filling = append(filling, before.Created(t))
			} else {
				filling = append(filling, before.Updated(t, before.Email, "Meanwhile"))
			}
		}
		all[key] = append(filling, events...)
	}
	return all
}

// startConsumers starts every service that reads users' events.
func startConsumers(t *testing.T, rec *bustest.Recorder) (d, a, m consumer) {
	run := func(build func(lifecycle.Env) *lifecycle.Runner) *servicetest.Running {
		return servicetest.Start(t, servicetest.Over(rec), build)
	}
	common := func(name string) config.Common { return servicetest.Common(t, name) }
	d = consumer{run(func(env lifecycle.Env) *lifecycle.Runner {
		return directory.New(directory.Config{Common: common("directory")}, env)
	}), usersTypes()}
	a = consumer{run(func(env lifecycle.Env) *lifecycle.Runner {
		return audit.New(audit.Config{Common: common("audit")}, env)
	}), []string{"*"}}
	m = consumer{run(func(env lifecycle.Env) *lifecycle.Runner { // whose events are of any age: those of the corpus get old
		return mailer.New(mailer.Config{
			Common: common("mailer"), MailFrom: "Tidings <welcome@tidings.example>", Mailbox: filepath.Join(t.TempDir(), "mailbox"),
		}, env)
	}), usersTypes()}
	return d, a, m
}

// Every golden event is taken by every consumer that says it can read it, and stops none that can't.
func TestEveryGoldenEventIsTakenByEveryConsumer(t *testing.T) {
	rec := bustest.NewRecorder()
	all := histories(t)
	for _, events := range all {
		servicetest.Publish(t, rec, events...)
	}
	d, a, m := startConsumers(t, rec)
	people := directoryv1.NewDirectoryServiceClient(d.Conn)
	audits := auditv1.NewAuditServiceClient(a.Conn)
	mails := mailerv1.NewMailerServiceClient(m.Conn)
	for _, c := range []*consumer{&d, &a, &m} {
		ignored := int64(0)
		for _, events := range all {
			ignored += c.expect(events).ignored
		}
		s := c.CaughtUp()
		if s.Parked != 0 || s.Waiting != 0 || s.Dead != 0 || s.Ignored != ignored {
			t.Errorf("%s: status %+v; want nothing parked, and %d ignored", c.Service.Name(), s, ignored)
		}
	}
	for key, events := range all {
		checkPerson(t, people, key, d.expect(events).taken)
		checkHistory(t, audits, key, a.expect(events).taken)
		checkMail(t, mails, key, m.expect(events).taken)
	}
}

// checkPerson checks that the directory has the last of what it took.
func checkPerson(t *testing.T, people directoryv1.DirectoryServiceClient, key string, taken []bus.Event) {
	t.Helper()
	r, err := people.GetPerson(t.Context(), &directoryv1.GetPersonRequest{Id: key})
	if len(taken) == 0 || strings.HasSuffix(taken[len(taken)-1].Type, ".UserDeleted") {
		if status.Code(err) != codes.NotFound {
			t.Errorf("the directory has %v of %s, %v; it was told of nobody, or that they are gone", r, key, err)
		}
		return
	}
	if last := taken[len(taken)-1]; err != nil || r.GetPerson().GetVersion() != last.Version || r.GetPerson().GetName() == "" {
		t.Errorf("the directory has %v of %s, %v; want what %s says", r, key, err, last.ID)
	}
}

// checkHistory checks that the audit has all that it took, as it came.
func checkHistory(t *testing.T, audits auditv1.AuditServiceClient, key string, taken []bus.Event) {
	t.Helper()
	r, err := audits.ListUserEvents(t.Context(), &auditv1.ListUserEventsRequest{UserId: key})
	if err != nil || len(r.GetEntries()) != len(taken) {
		t.Errorf("the audit has %d events of %s, %v; want %d", len(r.GetEntries()), key, err, len(taken))
		return
	}
	for _, e := range taken {
		if !slices.ContainsFunc(r.GetEntries(), func(entry *auditv1.Entry) bool {
			got := entry.GetEvent()
			return got.GetEventId() == e.ID && got.GetType() == e.Type && string(got.GetData()) == string(e.Data)
		}) {
			t.Errorf("the audit has no %s %s of %s, as it came", e.Type, e.ID, key)
		}
	}
}

// checkMail checks that the mailer has written to whom it heard was created, and to nobody else.
func checkMail(t *testing.T, mails mailerv1.MailerServiceClient, key string, taken []bus.Event) {
	t.Helper()
	r, err := mails.ListMessages(t.Context(), &mailerv1.ListMessagesRequest{UserId: key})
	sent := 0
	for _, message := range r.GetMessages() {
		if message.GetState() == mailerv1.Message_STATE_SENT {
			sent++
		}
	}
	want := 0
	for _, e := range taken {
		if strings.HasSuffix(e.Type, ".UserCreated") {
			want++
		}
	}
	if err != nil || sent != want || len(r.GetMessages()) != want {
		t.Errorf("the mailer has %v of %s, %v; want %d sent", r, key, err, want)
	}
}
