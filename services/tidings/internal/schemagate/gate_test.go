package schemagate

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// releasedAs is the version under which the tests' copy was released once more, so that all of today is frozen in it.
const releasedAs = "900.0.0"

// copyOf copies the contracts of a checkout.
func copyOf(t *testing.T, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	if err := os.CopyFS(filepath.Join(to, protoDir), os.DirFS(filepath.Join(from, protoDir))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(from, "buf.yaml"))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, "buf.yaml"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// released is a copy of this checkout, with everything in it released.
func released(t *testing.T) Gate {
	t.Helper()
	g := Gate{Dir: copyOf(t, repo), Buf: needsBuf(t)}
	files, err := g.Release(t.Context(), releasedAs)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"proto/released/v900.0.0.binpb", "proto/released/v900.0.0.sums"}; !slices.Equal(files, want) {
		t.Errorf("a release made %v", files)
	}
	return g
}

func check(t *testing.T, g Gate) Report {
	t.Helper()
	r, err := g.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBreakingChangesAreRefusedWithWhatToDoInstead(t *testing.T) {
	base := released(t)
	if r := check(t, base); len(r.Faults) > 0 || r.Types < 6 || r.Goldens < 15 || r.Releases[0] != "0.1.0" {
		t.Fatalf("nothing was changed, and the gate says %+v", r)
	}
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := Gate{Dir: copyOf(t, base.Dir), Buf: base.Buf}
			c.change(t, g.Dir)
			r := check(t, g)
			var rules []string
			texts := map[string]int{}
			for _, f := range r.Faults {
				rules = append(rules, f.Rule)
				texts[f.File+f.Rule+f.What]++
			}
			slices.Sort(rules)
			if rules = slices.Compact(rules); !slices.Equal(rules, c.rules) {
				t.Errorf("refused by %v, want %v\n%v", rules, c.rules, &FaultsError{r.Faults})
			}
			if !slices.ContainsFunc(r.Faults, func(f Fault) bool { return says(f.String(), c.want) }) {
				t.Errorf("no fault says %q:\n%v", c.want, &FaultsError{r.Faults})
			}
			for text, n := range texts {
				if n > 1 {
					t.Errorf("told %d times: %s", n, text)
				}
			}
		})
	}
}

func says(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// A change that is told of breaks the oldest release that had what it changes, however many had it.
func TestAFaultNamesTheOldestReleaseThatItBreaks(t *testing.T) {
	got := once([]Fault{
		{File: "b", Line: 2, Rule: "R", What: "x", Since: "0.1.0"}, {File: "a", Line: 9, Rule: "R", What: "x"},
		{File: "b", Line: 2, Rule: "R", What: "x", Since: "0.2.0"}, {File: "b", Line: 1, Rule: "R", What: "y", Since: "0.2.0"},
	})
	want := []Fault{
		{File: "a", Line: 9, Rule: "R", What: "x"}, {File: "b", Line: 1, Rule: "R", What: "y", Since: "0.2.0"},
		{File: "b", Line: 2, Rule: "R", What: "x", Since: "0.1.0"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// The way of a stranger: what the gate says to do is what it takes.
func TestWhatTheGateSaysToDoOpensIt(t *testing.T) {
	g := released(t)
	const field = "\n  // What friends say.\n  optional string called_by = 1010;\n\n  // How the user likes it.\n  Mood mood = 1011;\n"
	replaced(eventsV1, "  string name = 3;\n", "  string name = 3;\n"+field)(t, g.Dir)
	appended(eventsV1, `
// Mood is how somebody is.
enum Mood {
  // Nobody said.
  MOOD_UNSPECIFIED = 0;

  // Well.
  MOOD_GOOD = 1;

  // Not so well.
  MOOD_BAD = 2;
}
`)(t, g.Dir)
	for range 2 { // UserCreated and UserUpdated carry the user
		faults := check(t, g).Faults
		if len(faults) == 0 {
			t.Fatal("the gate is open too early")
		}
		_, typ, _ := strings.Cut(faults[0].Instead, "schema record ")
		made, err := g.Record(t.Context(), Recording{Type: typ})
		// Two moods are two events; and one is as of the release before, which did not know of them.
		if err != nil || len(made) != 3 || !strings.HasSuffix(made[2], "as-of-"+releasedAs) {
			t.Fatalf("recorded %v, %v", made, err)
		}
	}
	if r := check(t, g); len(r.Faults) > 0 {
		t.Errorf("the gate stays closed: %v", &FaultsError{r.Faults})
	}
	if _, err := g.Release(t.Context(), "900.0.1"); err != nil {
		t.Error(err)
	}
}

// A file that no other checkout has would be missing there for ever.
func TestAReleaseFreezesNothingButWhatIsRecordedAndReleased(t *testing.T) {
	g := Gate{Dir: copyOf(t, repo)}
	before, err := g.frozen()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(g.Dir, "proto/corpus/users.events.v1.UserCreated/.new-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		goldenV1 + "/event.json~", goldenV1 + "/.event.json.swp", "proto/corpus/notes", "proto/released/v0.1.0.binpb.orig",
		"proto/corpus/users.events.v1.UserCreated/.new-1/event.json",
	} {
		created(name)(t, g.Dir)
	}
	after, err := g.frozen()
	if err != nil || len(before) < 4*15 || !bytes.Equal(after.text(), before.text()) {
		t.Errorf("froze %d files before, and %d with others beside them, %v", len(before), len(after), err)
	}
	if faults, err := g.checkStray(); err != nil || len(faults) != 2 {
		t.Errorf("strays %v, %v", faults, err)
	}
}

// What was recorded is an event type, released or not; a map holds it as any field does.
func TestARecordedEventTypeIsHeldByNoOther(t *testing.T) {
	g := Gate{Dir: copyOf(t, repo), Buf: needsBuf(t)}
	appended(eventsV1, "\n// UserSeen says that a user was there.\nmessage UserSeen {\n  // Who.\n  string id = 1;\n}\n")(t, g.Dir)
	if _, err := g.Record(t.Context(), Recording{Type: "users.events.v1.UserSeen"}); err != nil {
		t.Fatal(err)
	}
	if r := check(t, g); len(r.Faults) > 0 {
		t.Fatalf("the gate is closed: %v", &FaultsError{r.Faults})
	}
	appended(eventsV1, "\n// UserMoved says where a user was.\nmessage UserMoved {\n  // By place.\n  map<string, UserSeen> seen = 1;\n}\n")(t, g.Dir)
	faults := check(t, g).Faults
	i := slices.IndexFunc(faults, func(f Fault) bool { return f.Rule == "EVENT_EMBEDDED" })
	if i < 0 || faults[i].Since != "" || faults[i].Line < 50 || !says(faults[i].String(), []string{"UserMoved.seen", "users.events.v1.UserSeen is"}) {
		t.Errorf("got %v", &FaultsError{faults})
	}
}

func TestWhatIsRecordedIsNeverWrittenAgain(t *testing.T) {
	g := Gate{Dir: copyOf(t, repo), Buf: needsBuf(t)}
	before, err := g.frozen()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		Recording
		want string
	}{
		{Recording{Type: "users.events.v1.UserCreated", Case: "filled"}, "filled is there, and what is recorded never changes"},
		{Recording{Type: "users.events.v1.UserCreated", Case: "../x"}, "--case"},
		{Recording{Type: "users.events.v1.User"}, "is a part of events"},
		{Recording{Type: "users.events.v1.Nobody"}, "no event type users.events.v1.Nobody; pass one of "},
		{Recording{Type: "users.v1.GetUserRequest"}, "is no event: its package users.v1 is not one of events"},
		{Recording{Type: "users.events.v2.UserCreated", AsOf: "0.1.0"}, "--as-of 0.1.0: there was no users.events.v2.UserCreated then"},
		{Recording{Type: "users.events.v1.UserCreated", AsOf: "0.1.7"}, "0.1.7 was not released"},
		{Recording{Type: "users.events.v1.UserCreated", AsOf: "old"}, "MAJOR.MINOR.PATCH"},
		{Recording{Type: "users.events.v1.UserCreated", JSON: []byte(`{"usr":{}}`)}, `--json: as a users.events.v1.UserCreated`},
		{Recording{Type: "users.events.v1.UserCreated", JSON: []byte{}}, `--json`},
		{Recording{Type: "users.events.v1.UserCreated", JSON: []byte(`{"user":{"version":"1001"}}`)}, `--json: version 1001: a recorded event has one of 1 to 1000`},
		{Recording{Type: "users.events.v1.UserCreated", Ext: map[string]string{"Trace-Parent": "1"}}, `--ext`},
	} {
		if made, err := g.Record(t.Context(), r.Recording); err == nil || !strings.Contains(err.Error(), r.want) || len(made) > 0 {
			t.Errorf("%+v: %v, %v; want %s", r.Recording, made, err, r.want)
		}
	}
	if made, err := g.Record(t.Context(), Recording{Type: "users.events.v1.UserCreated"}); err != nil || len(made) > 0 {
		t.Errorf("nothing is lacking, and it recorded %v, %v", made, err)
	}
	after, err := g.frozen()
	if err != nil || !bytes.Equal(after.text(), before.text()) {
		t.Errorf("something was written, %v:\n%s", err, after.text())
	}
}

func TestAReleaseIsRefused(t *testing.T) {
	g := released(t)
	refused := func(version, want string) {
		t.Helper()
		if files, err := g.Release(t.Context(), version); err == nil || !strings.Contains(err.Error(), want) || len(files) > 0 {
			t.Errorf("%s: %v, %v; want %s", version, files, err, want)
		}
	}
	refused("0.1.0", "0.1.0 is released, and never changes again")
	refused(releasedAs, "pass 900.0.1, 900.1.0 or 901.0.0")
	refused("899.9.9", "is not above 900.0.0")
	refused("1.0", "MAJOR.MINOR.PATCH")
	refused("01.0.0", "MAJOR.MINOR.PATCH")

	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.org", "-C", g.Dir}, args...)...)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, output)
		}
	}
	git("init", "-q")
	refused("900.1.0", "commit them first")
	git("add", ".")
	refused("900.1.0", "commit them first")
	git("commit", "-q", "--no-verify", "-m", "x")
	appended(eventsV1, "// A thought.\n")(t, g.Dir)
	refused("900.1.0", "M "+eventsV1)
	git("checkout", "-q", ".")

	index := filepath.Join(g.Dir, ".git", "index")
	kept, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, index, func([]byte) []byte { return []byte("rubbish") })
	refused("900.1.0", "git status: ")
	edit(t, index, func([]byte) []byte { return kept })

	removed(goldenOne)(t, g.Dir)
	git("commit", "-q", "--no-verify", "-a", "-m", "x")
	_, err = g.Release(t.Context(), "900.1.0")
	if faults, ok := errors.AsType[*FaultsError](err); !ok || !strings.Contains(faults.Error(), "FROZEN_GONE") {
		t.Errorf("faults don't keep a release back: %v", err)
	}
	git("revert", "--no-edit", "HEAD")
	if _, err := g.Release(t.Context(), "900.1.0"); err != nil {
		t.Error(err)
	}
}
