package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus/kafka"
)

// onLogs runs a test on brokers that keep a log, each of the test's own.
func onLogs(t *testing.T, test func(t *testing.T, b logServer)) {
	t.Parallel()
	for _, k := range kinds {
		if !k.keeps {
			continue
		}
		t.Run(k.name+" embedded", func(t *testing.T) {
			t.Parallel()
			test(t, startEmbedded(t, k))
		})
		t.Run(k.name+" real", func(t *testing.T) {
			k.needReal(t)
			t.Parallel()
			test(t, startReal(t, k))
		})
	}
}

// logServer is a server whose log a test may put back to an older copy while it is down.
type logServer interface {
	server
	data() string // the folder of the log
}

func (s *embeddedServer) data() string { return s.dir }

func (s *realServer) data() string { return filepath.Join(s.dir, strings.TrimSuffix(s.pid, ".pid")) }

// copyTo makes to a copy of what is at from: a folder, or files whose names begin so. What was at to is gone.
func copyTo(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// newcomers start a directory and an audit whose databases are empty, and wait until they agree with the owner: so the
// log that there is has everything.
func (s *stack) newcomers(t *testing.T) {
	t.Helper()
	for _, name := range []string{"directory", "audit"} {
		one := s.service(t, name, s.users.topic)
		one.db = filepath.Join(s.dir, "new-"+uuid.NewString()+".db")
		one.start(t)
		s.agreeOn(t, one)
	}
}

// some writes a number of users, and changes and removes a few of them.
func (s *stack) some(t *testing.T, from, to int) {
	t.Helper()
	ids := s.create(t, from, to)
	s.rename(t, ids[0], "Renamed")
	s.rename(t, ids[0], "Renamed Again")
	s.rename(t, ids[1], "Renamed and Gone")
	s.remove(t, ids[1])
}

// The topic is deleted while all runs, and somebody writes. What the outbox holds, which is everything here, is in the new
// log, and nobody has anything twice.
func TestATopicThatIsDeletedIsFilledAgain(t *testing.T) {
	onLogs(t, func(t *testing.T, b logServer) {
		s := newStack(t, b.wire())
		s.some(t, 0, 40)
		s.agree(t)
		mailed := s.mailbox(t)

		var load sync.WaitGroup
		load.Go(func() { s.create(t, 40, 120) })
		if err := kafka.DeleteTopics(t.Context(), s.url, s.users.topic); err != nil {
			t.Fatal(err)
		}
		load.Wait()
		s.some(t, 120, 130)
		s.agree(t)
		s.newcomers(t)
		s.notMailedAgain(t, mailed)
	})
}

// notMailedAgain fails the test if one of these mails was written again.
func (s *stack) notMailedAgain(t *testing.T, mailed map[string]time.Time) {
	t.Helper()
	for name, then := range s.mailbox(t) {
		if before, old := mailed[name]; old && !before.Equal(then) {
			t.Errorf("mail %s was written again", name)
		}
	}
}

// The broker comes back with an older copy of its log: it has lost the end, although it had acknowledged it. One reader was
// down, and comes back when the log has grown again.
func TestABrokerThatLostTheEndOfItsLogIsGivenItAgain(t *testing.T) {
	onLogs(t, func(t *testing.T, b logServer) {
		s := newStack(t, b.wire())
		s.some(t, 0, 30)
		s.agree(t)
		copied := filepath.Join(t.TempDir(), "copy")
		s.kill(t, b)
		copyTo(t, b.data(), copied)
		s.back(t, b)
		s.some(t, 30, 70)
		s.agree(t)
		s.published(t)
		mailed := s.mailbox(t)
		s.audit.stop(t)

		s.kill(t, b)
		copyTo(t, copied, b.data())
		s.back(t, b)
		s.some(t, 70, 80)
		s.agreeOn(t, s.directory, s.mailer)
		s.published(t)
		s.audit.start(t)
		s.agree(t)
		s.newcomers(t)
		s.notMailedAgain(t, mailed)
	})
}

// The same while the owner is down: it finds it when it starts, before it publishes anything.
func TestAnOwnerThatWasDownFindsWhatTheLogHasLost(t *testing.T) {
	t.Parallel()
	b := startEmbedded(t, kinds[0])
	s := newStack(t, b.wire())
	s.some(t, 0, 20)
	s.agree(t)
	copied := filepath.Join(t.TempDir(), "copy")
	s.kill(t, b)
	copyTo(t, b.data(), copied)
	s.back(t, b)
	s.some(t, 20, 40)
	s.agree(t)
	s.published(t)

	s.kill(t, b)
	s.some(t, 40, 45)
	s.users.kill()
	copyTo(t, copied, b.data())
	s.back(t, b)
	s.users.start(t)
	s.users.process.await(t, `"msg":"outbox: the log lacks events that were sent`)
	s.agree(t)
	s.newcomers(t)
}

// A reader's database that is put back to an older copy gets what the copy lacks, and nothing twice. What a mailer had sent
// after the copy was made it sends again: nobody but its database could know.
func TestADatabaseThatIsPutBackToAnOlderCopyFillsAgain(t *testing.T) {
	t.Parallel()
	b := startEmbedded(t, kinds[0])
	s := newStack(t, b.wire())
	s.some(t, 0, 30)
	s.agree(t)
	known := s.mailbox(t)
	copies := t.TempDir()
	for _, r := range s.readers() {
		r.stop(t)
		r.copyDatabase(t, s.dir, copies)
		r.start(t)
	}
	s.some(t, 30, 60)
	s.agree(t)
	all := s.mailbox(t)
	for _, r := range s.readers() {
		r.stop(t)
		r.forget(t)
		r.copyDatabase(t, copies, s.dir)
	}
	s.some(t, 60, 70)
	for _, r := range s.readers() {
		r.start(t)
	}
	s.agree(t) // which wants each event, and each mail, once
	s.notMailedAgain(t, known)
	repeated := 0
	for name, then := range s.mailbox(t) {
		if before, old := all[name]; old && !before.Equal(then) {
			repeated++
		}
	}
	if repeated != len(all)-len(known) {
		t.Errorf("%d mails were written again, want the %d that the copy did not know", repeated, len(all)-len(known))
	}
}

// copyDatabase copies the service's database, with what belongs to it, from one folder to another. It must be stopped.
func (s *service) copyDatabase(t *testing.T, from, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(from, filepath.Base(s.db)) + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no database of %s in %s: %v", s.name, from, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && !strings.HasSuffix(file, ".lock") {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o600)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("copy %s: %w", file, err))
		}
	}
}
