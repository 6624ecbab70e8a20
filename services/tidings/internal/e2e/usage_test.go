package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A log at an address of its own keeps its events, and an emptied owner would contradict them.
func TestFreshIsRefusedWhereTheLogStays(t *testing.T) {
	p := start(t, binary(t, "tidings"), nil, "up", "--bus=kafka://127.0.0.1:1", "--fresh", "--control=127.0.0.1:0", "--data="+t.TempDir())
	if code := p.wait(t, startTime); code != 2 || !strings.Contains(p.out.String(), "--fresh") {
		t.Errorf("exit %d, %q; want 2 and a word on --fresh", code, p.out.String())
	}
}

func TestWhatIsTypedWrongIsTold(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"status", "--control=127.0.0.1:1"}, 1, "no platform answers at 127.0.0.1:1"},
		{[]string{"up", "--bus=rabbit"}, 1, "rabbit"},
		{[]string{"up", "--bus=redis://127.0.0.1:1?bufer=1"}, 1, `unknown parameter "bufer"; did you mean "buffer"?`},
		{[]string{"up", "--bus=kafka://127.0.0.1:1?ack=1"}, 1, `unknown parameter "ack"; did you mean "acks"?`},
		{[]string{"up", "--directroy=127.0.0.1:1"}, 2, "unknown flag --directroy"},
		{[]string{"import"}, 2, "--sample"},
		{[]string{"import", "--sample=-1"}, 2, "--sample -1"},
		{[]string{"import", "--sample=1", "--door=ftp://127.0.0.1:1"}, 2, `--door "ftp://127.0.0.1:1": ftp:// is not spoken there`},
		{[]string{"import", "--sample=1", "--door=127.0.0.1"}, 2, `--door "127.0.0.1": pass HOST:PORT`},
		{[]string{"import", "nowhere.csv"}, 1, "nowhere.csv"},
		{[]string{"import", "--sample=1", "--door=http://127.0.0.1:1", "--retry=200ms"}, 1, "the write door can't be reached"},
		{[]string{"nonsense"}, 2, "nonsense"},
	} {
		args := c.args
		if args[0] == "up" {
			args = slices.Concat(args, anyPorts(), []string{"--data=" + t.TempDir()}) // not this package's folder
		}
		p := start(t, binary(t, "tidings"), nil, args...)
		if code := p.wait(t, startTime); code != c.code || !strings.Contains(p.out.String(), c.want) {
			t.Errorf("tidings %v: exit %d, %q; want %d and %q", c.args, code, p.out.String(), c.code, c.want)
		}
	}
}

func TestAServiceWhoseAddressIsInUseSaysSo(t *testing.T) {
	s := emptyStack(t, wire{kind: kinds[0], url: "kafka://127.0.0.1:1"})
	s.directory.start(t)
	second := start(t, binary(t, "directory"), nil, "--bus=kafka://127.0.0.1:1",
		"--db="+filepath.Join(s.dir, "second.db"), "--listen="+s.directory.listen)
	if code := second.wait(t, startTime); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	want := "directory: --listen " + s.directory.listen + " is in use; stop the other process or pass --listen\n"
	if !strings.Contains(second.out.String(), want) {
		t.Errorf("it printed %q, want %q", second.out.String(), want)
	}
	for name, address := range map[string]string{"kafka": "kafka://127.0.0.1:19092", "redis": "redis://127.0.0.1:16379/0"} {
		bare := start(t, binary(t, "directory"), nil, "--bus="+name)
		if code := bare.wait(t, startTime); code != 2 || !strings.Contains(bare.out.String(), address) {
			t.Errorf("--bus=%s: exit %d, %q; want the address to pass", name, code, bare.out.String())
		}
	}
}

// What a bus lacks is no secret: every service says at its start what it does without, before it has reached the bus.
func TestServicesSayWhatTheyDoWithout(t *testing.T) {
	s := emptyStack(t, wire{kind: redisKind(), url: "redis://127.0.0.1:1/0"})
	s.cut = true
	for _, one := range s.all() {
		one.start(t)
		one.process.await(t, `"level":"WARN".*"without":"durable, replayable, groups"`)
	}
}

// A file has one process. The second is refused before it has changed anything, by an error that says who has the file
// and what to do, and may have it as soon as the first is gone, however that ended.
func TestASecondProcessOnASQLiteFileIsRefused(t *testing.T) {
	t.Parallel()
	s := emptyStack(t, wire{kind: kinds[0], url: "kafka://127.0.0.1:1"})
	for _, one := range s.all() {
		one.start(t)
		second := s.service(t, one.name, one.topic)
		second.db = one.db
		if one.owns() {
			second.more = []string{"--door=" + ownAddress(t, 1)}
		}
		second.launch(t)
		want := fmt.Sprintf("%s: database: %s is in use by another process (%d); stop it, or pass another file with --db\n",
			one.name, one.db, one.process.cmd.Process.Pid)
		if code := second.process.wait(t, startTime); code != 1 || !strings.Contains(second.process.out.String(), want) {
			t.Errorf("exit %d, %q; want %q", code, second.process.out.String(), want)
		}
		one.answers(t)
		one.kill()
		second.start(t)
		second.answers(t)
	}
}
