package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/bustest"
	auditservice "github.com/tidings-dev/tidings/services/audit/service"
	directoryservice "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	mailerservice "github.com/tidings-dev/tidings/services/mailer/service"
	usersservice "github.com/tidings-dev/tidings/services/users/service"
)

// platform is the four services in this process, on a bus in memory and small SQLite databases, to break them by hand.
type platform struct {
	dir    string
	events string // Config.Events
	rec    *bustest.Recorder
	mail   *mailServer
}

func newPlatform(t *testing.T, events string) *platform {
	t.Helper()
	p := &platform{dir: t.TempDir(), events: events, rec: bustest.NewRecorder()}
	t.Cleanup(func() {
		if err := p.rec.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var err error
	if p.mail, err = startMailServer(mailer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.mail.close)
	return p
}

// start starts a service on the databases in a folder.
func (p *platform) start(t *testing.T, dir, kind string) *servicetest.Running {
	t.Helper()
	common := config.Common{Bus: "recorder://memory", DB: filepath.Join(dir, kind+".db"), Listen: "127.0.0.1:0", Topic: servicetest.Topic}
	return servicetest.Start(t, servicetest.Over(p.rec), func(env lifecycle.Env) *lifecycle.Runner {
		switch kind {
		case users:
			return usersservice.New(usersservice.Config{Common: common, Door: "127.0.0.1:0", Events: usersservice.Events(p.events)}, env)
		case directory:
			return directoryservice.New(directoryservice.Config{Common: common}, env)
		case audit:
			return auditservice.New(auditservice.Config{Common: common}, env)
		}
		return mailerservice.New(mailerservice.Config{
			Common: common, SMTP: "smtp://" + p.mail.addrs[mailer], MailFrom: "Soak <soak@example.com>", MailMaxAge: time.Hour,
		}, env)
	})
}

// books opens the databases in a folder until the test ends.
func open(t *testing.T, dir string) map[string]*database {
	t.Helper()
	dbs := map[string]*database{}
	for _, kind := range kinds {
		db, err := openSQLite(kind, filepath.Join(dir, kind+".db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.close(); err != nil {
				t.Error(err)
			}
		})
		dbs[kind] = db
	}
	return dbs
}

// copyOf is a folder with the databases as they are.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// change changes a database.
func change(t *testing.T, db *database, text string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// written has users written, changed and deleted, all services hear of it, and stops them. What the checker would go by
// is returned.
func (p *platform) written(t *testing.T) *trial {
	t.Helper()
	l := newLedger()
	var running []*servicetest.Running
	door := ""
	for _, kind := range kinds {
		r := p.start(t, p.dir, kind)
		running = append(running, r)
		if kind == users {
			door = r.Info.Door
		}
	}
	dbs := map[string]*database{}
	for _, kind := range kinds {
		db, err := openSQLite(kind, filepath.Join(p.dir, kind+".db"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.close(); err != nil {
				t.Error(err)
			}
		}()
		if err := db.watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		dbs[kind] = db
	}
	someWrites(newWriter(0, 1, []string{door}, l, 100), l)
	p.agrees(t, dbs, l)
	for _, r := range running {
		r.Stop()
	}
	trial := p.trial(t, dbs, l)
	return trial
}

// someWrites is of every kind, and every outcome that the door itself answers.
func someWrites(w *writer, l *ledger) {
	name := func(i int, what string) string { return fmt.Sprintf("%s %d", what, i) }
	for i := range 6 {
		w.write(Write{Verb: Create, Name: name(i, "Created"), Email: fmt.Sprintf("someone-%d@example.com", i)})
	}
	for i, created := range l.writes[:6] {
		w.write(Write{Verb: Update, User: created.User, Name: name(i, "Changed"), IfMatch: 1})
	}
	w.write(Write{Verb: Update, User: l.writes[0].User, Name: "Refused", IfMatch: 7})
	w.write(Write{Verb: Create, Name: "In use", Email: "someone-3@example.com"})
	w.write(Write{Verb: Delete, User: l.writes[5].User})
	w.write(Write{Verb: Delete, User: l.writes[5].User}) // which is answered as before
	w.write(Write{Verb: Update, User: l.writes[5].User, Name: "Too late"})
	w.write(Write{Verb: Create, Name: "Taken again", Email: "someone-5@example.com"})
}

// trial is what the checker goes by.
func (p *platform) trial(t *testing.T, dbs map[string]*database, l *ledger) *trial {
	t.Helper()
	b, err := readBooks(t.Context(), dbs)
	if err != nil {
		t.Fatal(err)
	}
	mails, _ := p.mail.taken()
	return &trial{books: b, writes: l.writes, reads: l.reads, mails: mails, apis: apisOf(p.events)}
}

// agrees waits until the checker finds nothing.
func (p *platform) agrees(t *testing.T, dbs map[string]*database, l *ledger) {
	t.Helper()
	servicetest.Await(t, soon, 10*time.Millisecond, "the checker finds nothing", func() (bool, any) {
		found := check(p.trial(t, dbs, l))
		return found.len() == 0, found
	})
}
