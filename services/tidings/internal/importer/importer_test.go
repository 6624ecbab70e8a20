package importer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	f, err := os.Open(bad)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 3 || strings.Join(rows[0], ",") != "line,reason,email,name" {
		t.Errorf("bad rows %v, %v", rows, err)
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
	res, err := Run(ctx, Config{Door: srv.URL, Rows: Sample(1_000_000, 1), Progress: func() {
		if done.Add(1) == 500 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || res.Created < 500 || res.Created == 1_000_000 {
		t.Errorf("result %v, %v; want a part, and the context's error", res, err)
	}
}
