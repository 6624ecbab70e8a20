package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
	users "github.com/tidings-dev/tidings/services/users/service"
)

// The issue wants `up` to be gone 10 s after Ctrl-C, and its parts end one after the other.
func TestTheBoundsOfStoppingAddUpToLessThanTenSeconds(t *testing.T) {
	sum := stopTime + lifecycle.DefaultStopTimeout + lifecycle.CloseTimeout + platform.CloseTimeout
	if sum >= 10*time.Second {
		t.Errorf("they add up to %v", sum)
	}
}

func TestSettingsThatDifferFromTheDefaults(t *testing.T) {
	t.Setenv("TIDINGS_TOPIC", "from_env")
	for args, want := range map[string]string{
		"":                      "settings   --topic from_env\n",
		"--topic=user_activity": "",
		"--data=x --fresh --log-level=debug --bus=kafka://u:geheim@h:9092 --users=127.0.0.1:8481": "settings   " +
			"--bus kafka://xxxxx@h:9092 --data x --fresh --topic from_env --log-level DEBUG\n",
	} {
		var commands cli
		parsed, err := config.Parse(append([]string{"up"}, strings.Fields(args)...), &bytes.Buffer{},
			config.Defaults{Service: "tidings"}, &commands)
		if err != nil {
			t.Fatal(err)
		}
		if got := settingsLine(parsed); got != want {
			t.Errorf("%s:\ngot  %swant %s", args, got, want)
		}
	}
}

func TestHelpShowsTheDefaults(t *testing.T) {
	_, out, _ := ran("up", "--help")
	out = strings.Join(strings.Fields(out), " ")
	if want := "(default 127.0.0.1:19092 for kafka, 127.0.0.1:16379 for redis)"; !strings.Contains(out, want) {
		t.Errorf("no %s in %s", want, out)
	}
	for _, value := range []string{"kafka", ".tidings", "127.0.0.1:8480", "127.0.0.1:8481", "127.0.0.1:8482", "127.0.0.1:8483", "127.0.0.1:8484"} {
		if !strings.Contains(out, "(default "+value+")") {
			t.Errorf("no default %s in %s", value, out)
		}
	}
}

func TestAMistakeLeavesNoData(t *testing.T) {
	for arg, want := range map[string]int{"--smtp=mail.example.org:25": 2, "--mail-from=me": 2, "--events=v1,v2": 2, "--events=": 2, "--bus=h:9": 1, "--bus=redis://h:1?x=1": 1, "--bus=kafka://h:1?ack=1": 1, "--bus=kafka://h:1": 2} {
		data := filepath.Join(t.TempDir(), "data")
		args := []string{"up", arg, "--data=" + data, "--control=127.0.0.1:0"}
		if want == 2 {
			args = append(args, "--fresh")
		}
		if code, _, faults := ran(args...); code != want || faults == "" {
			t.Errorf("%v: exit %d, %q", args, code, faults)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%v: left a folder", args)
		}
	}
}

func TestUpTellsMailerWhereMailsGo(t *testing.T) {
	t.Setenv("TIDINGS_MAIL_FROM", "Us <us@example.org>")
	var commands cli
	parsed, err := config.Parse([]string{"up", "--smtp=smtp://mail.example.org"}, &bytes.Buffer{}, config.Defaults{Service: "tidings"}, &commands)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := settingsLine(parsed), "settings   --smtp smtp://mail.example.org --mail-from \"Us <us@example.org>\"\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
	var told mailer.Config
	if _, err := config.Parse(commands.Up.mail(), &bytes.Buffer{}, config.Defaults{Service: "mailer", Listen: mailer.DefaultListen}, &told); err != nil {
		t.Fatal(err)
	}
	if told.SMTP != "smtp://mail.example.org" || told.MailFrom != "Us <us@example.org>" {
		t.Errorf("mailer is told %+v", told)
	}
}

func TestUpTellsUsersInWhichVersionsItTellsOfChanges(t *testing.T) {
	t.Setenv("TIDINGS_EVENTS", "v2,v1")
	for args, want := range map[string]users.Events{"": "v2,v1", "--events=v2": "v2", "--events=v1": "v1"} {
		var commands cli
		parsed, err := config.Parse(append([]string{"up"}, strings.Fields(args)...), &bytes.Buffer{}, config.Defaults{Service: "tidings"}, &commands)
		if err != nil {
			t.Fatal(err)
		}
		if line := settingsLine(parsed); strings.Contains(line, "--events "+string(want)) != (want != "v1") {
			t.Errorf("%s: the settings are %q", args, line)
		}
		var told users.Config
		if _, err := config.Parse(commands.Up.users(), &bytes.Buffer{}, config.Defaults{Service: "users", Listen: users.DefaultListen}, &told); err != nil || told.Events != want {
			t.Errorf("%s: users is told %q (%v), want %q", args, told.Events, err, want)
		}
	}
}

func TestABrokersAddressInUseLeavesNoData(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, bus := range []string{"kafka", "redis"} {
		data := filepath.Join(t.TempDir(), "data")
		code, _, faults := ran("up", "--bus="+bus, "--broker="+l.Addr().String(), "--data="+data, "--control=127.0.0.1:0")
		if code != 1 || !strings.Contains(faults, "--broker "+l.Addr().String()+" is in use") {
			t.Errorf("%s: exit %d, %q", bus, code, faults)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s: left a folder", bus)
		}
	}
}

func TestASecondPlatformOnTheDataIsToldSo(t *testing.T) {
	data := t.TempDir()
	release, err := platform.Config{Bus: "kafka", Data: data}.Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = release() }()
	for _, fresh := range []string{"--fresh=false", "--fresh"} {
		code, _, faults := ran("up", "--data="+data, "--control=127.0.0.1:0", fresh)
		if code != 1 || !strings.Contains(faults, "a platform runs on the data in "+data) || !strings.Contains(faults, "pass another --data") {
			t.Errorf("%s: exit %d, %q", fresh, code, faults)
		}
	}
}

func TestAnAddressInUseNamesTheFlagOfUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	args := []string{"up", "--data=" + t.TempDir(), "--directory=" + l.Addr().String()}
	for _, flag := range []string{"control", "broker", "door", "users", "audit", "mailer"} {
		args = append(args, "--"+flag+"=127.0.0.1:0")
	}
	want := "tidings: up: directory: --directory " + l.Addr().String() + " is in use; stop the other process or pass --directory\n"
	if code, _, faults := ran(args...); code != 1 || faults != want {
		t.Errorf("exit %d, %q; want %q", code, faults, want)
	}
}

func TestADatabaseForAllIsOnPostgresAndHasASchemaForEach(t *testing.T) {
	for arg, want := range map[string]string{
		"--db=all.db": "--db is for Postgres",
		"--db=postgres://u@127.0.0.1/d?schema=all":     "each service needs its own",
		"--db=postgres://u@127.0.0.1/d?search_path=al": "each service needs its own",
	} {
		data := filepath.Join(t.TempDir(), "data")
		code, _, faults := ran("up", arg, "--data="+data, "--control=127.0.0.1:0")
		if code != 2 || !strings.Contains(faults, want) {
			t.Errorf("%s: exit %d, %q; want %q", arg, code, faults, want)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s: left a folder", arg)
		}
	}
	code, _, faults := ran("up", "--db=postgres://u@127.0.0.1/d", "--fresh", "--data="+t.TempDir(), "--control=127.0.0.1:0")
	if code != 2 || !strings.Contains(faults, "--fresh: it empties files") {
		t.Errorf("--fresh: exit %d, %q", code, faults)
	}
}
