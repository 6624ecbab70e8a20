package importer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// fakeDoor answers as the write door does, as far as an importer can tell; the process tests use the door itself.
type fakeDoor struct {
	mu    sync.Mutex
	users map[string]bool
	// before, where set, may answer a request in the door's place.
	before func(w http.ResponseWriter) bool
}

func (d *fakeDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var user struct{ Email, Name string }
	if err := json.NewDecoder(r.Body).Decode(&user); err != nil || r.URL.Path != "/v1/users" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if d.before != nil && d.before(w) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !strings.Contains(user.Email, "@"):
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"title":"Bad Request","errors":[{"field":"email","detail":"\"x\" is not an address"}]}`))
	case d.users[user.Email]:
		w.WriteHeader(http.StatusConflict)
	default:
		d.users[user.Email] = true
		w.WriteHeader(http.StatusCreated)
	}
}

func newFakeDoor(t *testing.T) (*fakeDoor, string) {
	t.Helper()
	d := &fakeDoor{users: map[string]bool{}}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	return d, srv.URL
}

func TestRunCountsWhatBecameOfEachRow(t *testing.T) {
	d, url := newFakeDoor(t)
	d.users["there@x.org"] = true
	bad := filepath.Join(t.TempDir(), "in.bad.csv")
	in := "email,name\na@x.org,Ada\nthere@x.org,Bob\nx,Eve\nshort\nd@x.org,Dan\n"
	res, err := Run(t.Context(), Config{Door: url, Rows: Read(strings.NewReader(in)), BadFile: bad})
	if err != nil {
		t.Fatal(err)
	}
	want := `2 created, 1 already there, 2 bad (the first on line 4: email: "x" is not an address)`
	if res.String() != want {
		t.Errorf("result %q\n  want %q", res, want)
	}
	rows := readBad(t, bad)
	slices.SortFunc(rows, slices.Compare) // workers write in any order
	if diff := cmp.Diff([][]string{
		{"4", `email: "x" is not an address`, "x", "Eve", "", "", "", "", "", "", ""},
		{"5", "the row has 1 columns; it must have 2", "", "", "", "", "", "", "", "", "short"},
	}, rows); diff != "" {
		t.Error(diff)
	}
}

// readBad reads a file of bad rows, without its header.
func readBad(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) == 0 || strings.Join(rows[0], ",") != "line,reason,email,name,display_name,locale,phone,given_name,family_name,name_order,raw" {
		t.Fatalf("bad rows %v, %v", rows, err)
	}
	return rows[1:]
}

func TestTheFileOfBadRowsKeepsTheInputByteForByte(t *testing.T) {
	_, url := newFakeDoor(t)
	for in, raw := range map[string]string{
		"email,name\na@x.org,J\xf6rg\n":               "a@x.org,J\xf6rg",
		"email,name\na@x.org,\"A\nB\"\n":              "a@x.org,\"A\nB\"",
		"email,name\na\"b,\"A, B\"\n":                 "a\"b,\"A, B\"",
		`{"email":"a@x.org","name":7}`:                `{"email":"a@x.org","name":7}`,
		"{\"email\":\"a@x.org\",\"name\":\"\xff\"}\n": "{\"email\":\"a@x.org\",\"name\":\"\xff\"}",
	} {
		bad := filepath.Join(t.TempDir(), "bad.csv")
		res, err := Run(t.Context(), Config{Door: url, Rows: Read(strings.NewReader(in)), BadFile: bad})
		if err != nil || res.Bad != 1 || res.Created != 0 {
			t.Errorf("%q: %v, %v", in, res, err)
			continue
		}
		if got := readBad(t, bad)[0][10]; got != raw {
			t.Errorf("%q: kept %q, want %q", in, got, raw)
		}
	}
}

func TestARunWithoutBadRowsRemovesTheFileOfAnEarlierOne(t *testing.T) {
	_, url := newFakeDoor(t)
	bad := filepath.Join(t.TempDir(), "in.bad.csv")
	run := func(in string) error {
		_, err := Run(t.Context(), Config{Door: url, Rows: Read(strings.NewReader(in)), BadFile: bad})
		return err
	}
	if err := run("email,name\nx,Eve\n"); err != nil || len(readBad(t, bad)) != 1 {
		t.Fatalf("no bad row: %v", err)
	}
	if err := run("no header\n"); err == nil || len(readBad(t, bad)) != 1 {
		t.Errorf("a run that failed (%v) says nothing of the rows", err)
	}
	if err := run("email,name\na@x.org,Ada\n"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(bad); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of the run before is still there: %v", err)
	}
	for _, foreign := range []string{"line,reason,email,name,raw and more\n", "my notes", ""} {
		if err := os.WriteFile(bad, []byte(foreign), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run("email,name\na@x.org,Ada\n"); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(bad); err != nil || string(got) != foreign {
			t.Errorf("a file of somebody else's, %q, is now %q, %v", foreign, got, err)
		}
	}
}

// Whatever ends the reading, the rows before it are made: they are not broken off.
func TestRunMakesTheRowsBeforeTheOneThatCannotBeRead(t *testing.T) {
	d, url := newFakeDoor(t)
	var in strings.Builder
	in.WriteString("email,name\n")
	for i := range 500 {
		fmt.Fprintf(&in, "u%d@x.org,U\n", i)
	}
	in.WriteString("b@x.org,\"B\nc@x.org,C\nd@x.org,D\n")
	res, err := Run(t.Context(), Config{Door: url, Rows: Read(strings.NewReader(in.String()))})
	want := "line 502: a quote is opened and never closed; nothing from there on was read"
	if err == nil || err.Error() != want || res.Created != 500 || res.Bad != 0 || len(d.users) != 500 {
		t.Errorf("%v, error %v; want 500 created and %q", res, err, want)
	}
}

// A terminal at which nobody types, or a pipe into which nobody writes, must not keep an import that is to end.
func TestRunDoesNotWaitForASilentInput(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := &fakeDoor{users: map[string]bool{}}
	srv := httptest.NewServer(d)
	defer srv.Close()
	for _, start := range []string{"", "email,name\na@x.org,Ada\n", "{\"email\":\"b@x.org\"}\n"} {
		silent, writer := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := Run(ctx, Config{Door: srv.URL, Rows: Read(silent)})
			ended <- err
		}()
		if start != "" {
			_, _ = io.WriteString(writer, start) // a pipe whose reader is there
		}
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("after %q: error %v", start, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("after %q: still there", start)
		}
		_ = writer.Close() // and the goroutine that reads ends
	}
}

// A door that is lost ends an import whose input is silent, too.
func TestRunGivesUpADoorWhileItsInputIsSilent(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	silent, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	go func() { _, _ = io.WriteString(writer, "email,name\na@x.org,Ada\n") }()
	ended := make(chan error, 1)
	go func() {
		_, err := Run(t.Context(), Config{Door: closed.URL, Rows: Read(silent), Retry: 100 * time.Millisecond})
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrDoorLost) {
			t.Errorf("error %v, want ErrDoorLost", err)
		}
	case <-time.After(time.Minute):
		t.Error("still there")
	}
}

func TestRunTwiceFindsEverybodyThere(t *testing.T) {
	_, url := newFakeDoor(t)
	for _, want := range []string{"300 created, 0 already there, 0 bad", "0 created, 300 already there, 0 bad"} {
		res, err := Run(t.Context(), Config{Door: url, Rows: Sample(300, 1)})
		if err != nil || res.String() != want {
			t.Errorf("result %q, %v, want %q", res, err, want)
		}
	}
}

func TestResultGroupsThousandsAndNamesTheOnlyBadRow(t *testing.T) {
	res := Result{Created: 9997, AlreadyThere: 2, Bad: 1, FirstBad: Row{Line: 17}, Reason: `email: "x" is not an address`}
	want := `9,997 created, 2 already there, 1 bad (line 17: email: "x" is not an address)`
	if res.String() != want {
		t.Errorf("result %q\n  want %q", res, want)
	}
}

func TestRunWaitsForADoorThatComesBack(t *testing.T) {
	d, url := newFakeDoor(t)
	var failures atomic.Int32
	d.before = func(w http.ResponseWriter) bool {
		if failures.Add(1) <= 20 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	var waited atomic.Int32
	res, err := Run(t.Context(), Config{
		Door: url, Rows: Sample(50, 1),
		Waiting: func(error, time.Duration) { waited.Add(1) },
	})
	if err != nil || res.Created != 50 || waited.Load() != 20 {
		t.Errorf("result %v, %v, waited %d times; want 50 created after 20 refusals", res, err, waited.Load())
	}
}

func TestRunGivesUpADoorThatStaysAway(t *testing.T) {
	_, url := newFakeDoor(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	_, err := Run(t.Context(), Config{Door: closed.URL, Rows: Sample(5, 1), Retry: 300 * time.Millisecond})
	if !errors.Is(err, ErrDoorLost) {
		t.Errorf("error %v, want ErrDoorLost", err)
	}
	// What is no write door is told at once, not after half a minute.
	began := time.Now()
	_, err = Run(t.Context(), Config{Door: url + "/elsewhere", Rows: Sample(5, 1)})
	if !errors.Is(err, ErrDoorLost) || !strings.Contains(err.Error(), "--door") || time.Since(began) > 20*time.Second {
		t.Errorf("error %v after %v, want ErrDoorLost that names --door", err, time.Since(began))
	}
}

func TestRunEndsWithItsContextAndLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := &fakeDoor{users: map[string]bool{}}
	srv := httptest.NewServer(d)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var done atomic.Int32
	res, err := Run(ctx, Config{Door: srv.URL, Rows: Sample(1_000_000, 1), Progress: func(Row) {
		if done.Add(1) == 500 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || res.Created < 500 || res.Created == 1_000_000 {
		t.Errorf("result %v, %v; want a part, and the context's error", res, err)
	}
}
