package soak

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What an answer means is what the door promises: a 503 says that nothing was stored, unless it says that this is unknown.
func TestAnAnswerIsTakenForWhatTheDoorSaysItMeans(t *testing.T) {
	for _, test := range []struct {
		name    string
		handle  http.HandlerFunc
		outcome Outcome
		user    string
		version uint64
	}{
		{"made", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/users/ada")
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusCreated)
		}, Acknowledged, "ada", 1},
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/users/bob")
			w.WriteHeader(http.StatusConflict)
		}, Refused, "", 0},
		{"not stored", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, Refused, "", 0},
		{"perhaps stored", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v1/users/eve")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"outcome":"unknown"}`))
		}, Unknown, "eve", 0},
		{"a fault", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, Unknown, "", 0},
		{"broken off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Unknown, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handle)
			defer server.Close()
			l := newLedger()
			w := newWriter(0, 1, []string{strings.TrimPrefix(server.URL, "http://")}, l, 1)
			defer w.client.CloseIdleConnections()
			w.write(Write{Verb: Create, Name: "Ada", Email: "ada@example.com"})
			if got := l.writes[0]; got.Outcome != test.outcome || got.User != test.user || got.Version != test.version {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		l := newLedger()
		newWriter(0, 1, []string{"127.0.0.1:1"}, l, 1).write(Write{Verb: Create, Name: "Ada"})
		if got := l.writes[0]; got.Outcome != Refused {
			t.Errorf("%+v", got)
		}
	})
}

func TestTheLedgerKnowsWhoMayBeThere(t *testing.T) {
	l, rng := newLedger(), rand.New(rand.NewPCG(1, 1))
	if who := l.someone(rng); who != "" {
		t.Errorf("%q is there", who)
	}
	for _, w := range []Write{
		{Verb: Create, User: "ada", Outcome: Acknowledged, Version: 1},
		{Verb: Create, User: "bob", Outcome: Unknown},
		{Verb: Create, User: "eve", Outcome: Acknowledged, Version: 1},
		{Verb: Delete, User: "ada", Outcome: Unknown},
		{Verb: Delete, User: "eve", Outcome: Refused, Status: http.StatusPreconditionFailed},
		{Verb: Update, User: "bob", Outcome: Refused, Status: http.StatusNotFound},
	} {
		l.add(w)
	}
	if len(l.live) != 1 || l.someone(rng) != "eve" {
		t.Errorf("%q are there", l.live)
	}
	for range 2 * recentWrites {
		l.add(Write{Verb: Update, User: "eve", Outcome: Acknowledged, Version: 2, Begun: time.Now()})
	}
	if w, ok := l.lately(rng); !ok || len(l.recent) != recentWrites || w.Version != 2 {
		t.Errorf("%+v of %d", w, len(l.recent))
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
}
