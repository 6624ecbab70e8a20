package hostile

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
)

// reader is a service that reads the topic.
type reader struct {
	*servicetest.Running
	name string
	db   string
}

// startReaders starts directory, audit and mailer, in the order of [fates].
func startReaders(t *testing.T, url, topic string) [3]reader {
	common := func(name string) config.Common {
		c := servicetest.Common(t, name)
		c.Bus, c.Topic = url, topic
		return c
	}
	run := func(c config.Common, build func(lifecycle.Env) *lifecycle.Runner) reader {
		r := servicetest.Start(t, backends.Open, build)
		return reader{r, r.Service.Name(), c.DB}
	}
	d, a, m := common("directory"), common("audit"), common("mailer")
	return [3]reader{
		run(d, func(env lifecycle.Env) *lifecycle.Runner { return directory.New(directory.Config{Common: d}, env) }),
		run(a, func(env lifecycle.Env) *lifecycle.Runner { return audit.New(audit.Config{Common: a}, env) }),
		run(m, func(env lifecycle.Env) *lifecycle.Runner {
			return mailer.New(mailer.Config{
				Common: m, MailFrom: "Tidings <welcome@tidings.example>", MailMaxAge: 24 * time.Hour, Mailbox: filepath.Join(t.TempDir(), "mailbox"),
			}, env)
		}),
	}
}

func TestHostileRecordsStopNoService(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		if os.Getenv("TIDINGS_TEST_KAFKA") != "" {
			servicetest.SQLiteOnly(t, "there the real broker is enough: which one it was, no database knows")
		}
		t.Setenv("TIDINGS_TEST_KAFKA", "")
		withstand(t, servicetest.KafkaURL(t))
	})
	t.Run("real", func(t *testing.T) {
		url := os.Getenv("TIDINGS_TEST_KAFKA")
		switch {
		case url == "" && os.Getenv("CI") == "true":
			t.Fatal("TIDINGS_TEST_KAFKA is not set, and CI tests on a real broker")
		case url == "":
			t.Skip("TIDINGS_TEST_KAFKA is not set: no real broker to test with")
		}
		withstand(t, url)
	})
}

// withstand puts every hostile record between the events of users, in front of three services, and looks what became of
// each, and of the users.
func withstand(t *testing.T, url string) {
	topic := servicetest.NewTopic()
	readers := startReaders(t, url, topic)
	b := openBus(t, url)
	var users []*servicetest.User
	var before, after []bus.Event
	for i := range 40 {
		u := servicetest.NewUser(fmt.Sprintf("user%d@example.org", i), "Before")
		before = append(before, u.Created(t))
		after = append(after, u.Updated(t, u.Email, fmt.Sprint("After ", i)))
		users = append(users, u)
	}
	servicetest.PublishTo(t, b, topic, before...)
	hostile := records(t, users[0].ID)
	puts(t, url, topic, hostile)
	servicetest.PublishTo(t, b, topic, after...)
	puts(t, url, topic, hostile) // again: what was taken is a duplicate, and what was not is parked once more

	var states [3]lifecycle.Status
	for i, r := range readers {
		states[i] = r.Within(2*time.Minute, 20*time.Millisecond, "everything", func(s lifecycle.Status) bool {
			return s.Bus && s.Lag == 0 && s.Queued == 0 && s.Keys >= int64(len(users))
		})
	}
	checkUsers(t, readers, users)
	runtime.GC()
	var mem runtime.MemStats
	if runtime.ReadMemStats(&mem); mem.HeapAlloc > 128<<20 {
		t.Errorf("%d MB are held by three services, and what they read is gone", mem.HeapAlloc>>20)
	}
	for i, r := range readers {
		r.Stop() // with nil, or the test fails; and its database can be looked at
		checkFates(t, i, r, states[i], hostile)
	}
}

// checkFates compares what one service made of each record with the table.
func checkFates(t *testing.T, i int, r reader, s lifecycle.Status, hostile []hostileRecord) {
	t.Helper()
	parked := parkedKeys(t, r)
	want := map[fate]int64{}
	for _, h := range hostile {
		f := h.fates[i]
		want[f]++
		if got := parked[string(h.Key)]; (got > 0) != (f == dead) {
			t.Errorf("%s: %s: parked %d times; the table says: %s", r.name, h.name, got, f)
		}
	}
	ignored := 2*want[pass] + want[skip]
	if s.Ignored != ignored || s.Parked != 0 || s.Waiting != 0 || s.State != lifecycle.Serving {
		t.Errorf("%s: status %+v, want %d ignored", r.name, s, ignored)
	}
	total := int64(0)
	for _, n := range parked {
		total += n
	}
	if s.Dead != total {
		t.Errorf("%s: status says %d dead, and %d rows are", r.name, s.Dead, total)
	}
	t.Logf("%s: %d dead, %d ignored, %d keys", r.name, s.Dead, s.Ignored, s.Keys)
}

// parkedKeys counts the dead rows of each key.
func parkedKeys(t *testing.T, r reader) map[string]int64 {
	t.Helper()
	db := servicetest.OpenDatabase(t, r.db, r.name)
	rows, err := db.QueryContext(t.Context(), `SELECT key, COUNT(*) FROM tidings_inbox_parked GROUP BY key`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	keys := map[string]int64{}
	for rows.Next() {
		var key string
		var n int64
		if err := rows.Scan(&key, &n); err != nil {
			t.Fatal(err)
		}
		keys[key] = n
	}
	return keys
}

// checkUsers checks that every event of the owner was applied, and no other changed a user.
func checkUsers(t *testing.T, readers [3]reader, users []*servicetest.User) {
	t.Helper()
	people := directoryv1.NewDirectoryServiceClient(readers[0].Conn)
	histories := auditv1.NewAuditServiceClient(readers[1].Conn)
	mails := mailerv1.NewMailerServiceClient(readers[2].Conn)
	for _, u := range users {
		p, err := people.GetPerson(t.Context(), &directoryv1.GetPersonRequest{Id: u.ID})
		if err != nil || p.GetPerson().GetName() != u.Name || p.GetPerson().GetVersion() != 2 {
			t.Errorf("the directory has %v, %v; want %+v", p, err, u)
		}
		h, err := histories.ListUserEvents(t.Context(), &auditv1.ListUserEventsRequest{UserId: u.ID})
		if err != nil || h.GetTotalSize() != 2 {
			t.Errorf("the audit has %v, %v; want two events", h, err)
		}
		m, err := mails.ListMessages(t.Context(), &mailerv1.ListMessagesRequest{UserId: u.ID})
		if err != nil || len(m.GetMessages()) != 1 || m.GetMessages()[0].GetState() != mailerv1.Message_STATE_SENT {
			t.Errorf("the mailer has %v, %v; want one mail, sent", m, err)
		}
	}
}

func openBus(t *testing.T, url string) bus.Bus {
	t.Helper()
	b, err := backends.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// puts writes records with a client that checks nothing.
func puts(t *testing.T, url, topic string, hostile []hostileRecord) {
	t.Helper()
	var all []*kgo.Record
	for _, h := range hostile {
		r := *h.Record
		r.Topic = topic
		all = append(all, &r)
	}
	produce(t, url, slices.Values(all))
}
