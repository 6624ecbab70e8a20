package e2e

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The tables in the documentation of bus/outbox and bus/inbox say what holds when a process dies after a step. Here they
// die at every one of them, and it holds.
func TestNothingIsLostOrDoneTwiceAtAnyCrashPoint(t *testing.T) {
	t.Parallel()
	kafka, redis := startEmbedded(t, kinds[0]), startEmbedded(t, redisKind())
	missTheDeadSoon(t, kafka)
	all := walks()
	if !thorough() { // where the long ones are walked, it has nothing that they have not
		all = append(all, inARow(all))
	}
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			if w.long && !thorough() {
				t.Skipf("neither CI=true nor %s is set: each of its points is in %q, with less load and one look at the end",
					kinds[0].variable, inARow(nil).name)
			}
			on := kafka.wire()
			switch {
			case w.redis:
				on = redis.wire()
			case w.real:
				on = wire{kind: kinds[0], url: needReal(t), real: true}
			}
			if w.postgres {
				on = on.onPostgres(t)
			}
			t.Parallel()
			newMortal(t, on).walk(t, w)
		})
	}
	t.Run("what waits", func(t *testing.T) {
		t.Parallel()
		newMortal(t, kafka.wire()).waitAndDie(t)
	})
	t.Run("what is parked", func(t *testing.T) {
		t.Parallel()
		newMortal(t, kafka.wire()).parkAndDie(t)
	})
}

// missTheDeadSoon lets the broker give away after two seconds what a member had that was killed, and not after six.
func missTheDeadSoon(t *testing.T, kafka *embeddedServer) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	two := "2000"
	answers, err := kadm.NewClient(client).AlterBrokerConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "group.consumer.session.timeout.ms", Value: &two}})
	for _, a := range answers {
		if err == nil {
			err = a.Err
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mortal is a platform whose services die where the test wants it.
type mortal struct {
	*stack
	office *postOffice
	people people

	// Of the deaths since the last check: by user, how often their mail was begun until a mailer died with it "sending",
	// and what those mailers printed.
	cut     map[string]int
	printed strings.Builder
	had     map[string]int // by user: how many mails they had at the last check
}

// newMortal starts nothing.
func newMortal(t *testing.T, w wire) *mortal {
	t.Helper()
	m := &mortal{stack: emptyStack(t, w), office: openPostOffice(t), cut: map[string]int{}, had: map[string]int{}}
	m.programs = mortals
	// A lease lasts twice as long as a mail may take.
	m.mailer.more = []string{"--smtp=smtp://" + m.office.addr + "?timeout=2s"}
	return m
}

func (m *mortal) walk(t *testing.T, w walk) {
	t.Helper()
	if !w.fresh {
		m.startAll(t)
	}
	for _, deaths := range w.lines {
		m.die(t, deaths)
	}
}

// die has services die while users are written, starts each again, and checks everything once all is quiet. A service of
// several deaths dies them in their order.
func (m *mortal) die(t *testing.T, deaths []death) {
	t.Helper()
	lives := map[string][]death{}
	for _, d := range deaths {
		lives[d.service] = append(lives[d.service], d)
	}
	defer func() {
		if t.Failed() {
			t.Logf("these were to die last: %v", deaths)
		}
	}()
	m.arm(t, lives)
	stop := make(chan struct{})
	var writers, watchers sync.WaitGroup
	if !slices.ContainsFunc(deaths, func(d death) bool { return d.silent }) {
		many, pause := load()
		for range many {
			writers.Go(func() { m.keepWriting(t, pause, stop) })
		}
	}
	for _, ofOne := range lives {
		watchers.Go(func() { m.outlive(t, ofOne...) })
	}
	watchers.Wait()
	close(stop)
	writers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	m.check(t, deaths)
}

// arm starts those who are to die so that they will, and those who don't run at all.
func (m *mortal) arm(t *testing.T, lives map[string][]death) {
	t.Helper()
	for _, one := range append(m.readers(), m.users) { // where the bus keeps nothing, the owner has to be there while they stop
		if len(lives[one.name]) > 0 && one.process != nil {
			one.stop(t)
			one.doubt()
		}
	}
	for _, ofOne := range lives {
		m.launchToDie(t, ofOne[0])
	}
	for _, one := range m.all() {
		if one.process == nil {
			one.start(t)
		}
	}
}

// launchToDie starts a service that will kill itself.
func (m *mortal) launchToDie(t *testing.T, d death) {
	t.Helper()
	m.doomed(d).launchWith(t, []string{"TIDINGS_CRASH=" + d.at}, d.more...)
}

func (m *mortal) doomed(d death) *service {
	i := slices.IndexFunc(m.all(), func(s *service) bool { return s.name == d.service })
	return m.all()[i]
}

// deathTime is how long a service may take to come to its point, on a machine that is busy with other tests.
const deathTime = 2 * time.Minute

// outlive waits until a service has died as it was to, and starts it again, for its next death or to live.
func (m *mortal) outlive(t *testing.T, deaths ...death) {
	t.Helper()
	one := m.doomed(deaths[0])
	for i, d := range deaths {
		if i > 0 {
			m.launchToDie(t, d)
		}
		m.dies(t, d)
		if one == m.mailer {
			m.notice(t)
		}
		if t.Failed() {
			return // a service that is dead, or was to be, has no other death to die
		}
	}
	one.start(t)
}

// dies waits until a service has died as it was to.
func (m *mortal) dies(t *testing.T, d death) {
	t.Helper()
	one := m.doomed(d)
	one.killed = true
	select {
	case <-one.process.exited:
		if err := diedAt(one.process, d.point()); err != nil {
			t.Errorf("%s: %v; it printed:\n%s", d.service, err, tail(one.process.out.String()))
		}
	case <-time.After(deathTime):
		t.Errorf("%s has not come to %s within %v", d.service, d.at, deathTime)
		one.process.kill()
	}
}

// diedAt returns an error unless the process has killed itself at a point.
func diedAt(p *process, point string) error {
	ended, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !ended.Signaled() || ended.Signal() != syscall.SIGKILL {
		return fmt.Errorf("it was to be killed at %s and ended by %v", point, p.cmd.ProcessState)
	}
	if !strings.Contains(p.out.String(), "crashpoint: killed at "+point+",") {
		return fmt.Errorf("it was killed, and not at %s", point)
	}
	return nil
}

// Programs as everybody has them know nothing of points.
func TestAProgramWithoutTheTagCannotBeToldToDie(t *testing.T) {
	t.Parallel()
	p := start(t, binary(t, "audit"), []string{"TIDINGS_CRASH=inbox.D99"}, "--help")
	if code := p.wait(t, startTime); code != 0 {
		t.Errorf("exit %d: %s", code, tail(p.out.String()))
	}
	for _, known := range []struct {
		path string
		want bool
	}{{binary(t, "audit"), false}, {mortals.path(t, "audit"), true}} {
		code, err := os.ReadFile(known.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"TIDINGS_CRASH", "inbox.D10a"} {
			if bytes.Contains(code, []byte(text)) != known.want {
				t.Errorf("%q stands in %s: %v, want %v", text, known.path, !known.want, known.want)
			}
		}
	}
}

// A program that was to die at a point that isn't there would live, and its test would pass.
func TestNobodyDiesAtAPointThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"inbox.D99", "inbox.D8a:0", "outbox"} {
		p := start(t, mortals.path(t, "audit"), []string{"TIDINGS_CRASH=" + at}, "--help")
		if code := p.wait(t, startTime); code != 2 || !strings.Contains(p.out.String(), "TIDINGS_CRASH=") {
			t.Errorf("TIDINGS_CRASH=%s: exit %d, and it printed: %s", at, code, tail(p.out.String()))
		}
	}
}
