package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// The requests that FuzzRequest makes: a method, and a path that names the collection, a user who is there, or
// whatever the tail says.
var (
	fuzzMethods = []string{"POST", "PATCH", "DELETE", "GET", "PUT", ""}
	fuzzPaths   = []func(id, tail string) string{
		func(_, _ string) string { return usersPath },
		func(id, _ string) string { return location(id) },
		func(_, tail string) string { return tail },
	}
)

// FuzzRequest sends requests of any method, path, headers and body to a door over a real store. No input is a fault of
// ours: never a 5xx, never a panic. A refusal is a whole problem, and changes nothing; what is accepted reads back from
// the store as it was answered, and as it was sent. Headers are given as names and values with newlines between.
func FuzzRequest(f *testing.F) {
	for _, h := range []string{
		"", "Content-Type\napplication/json", "Content-Type\napplication/json; charset=utf-8\nIf-Match\n\"1\"", "Content-Type\ntext/plain",
		"Content-Type\napplication/json\nIf-Match\nW/\"1\", \"2\"", "If-Match\n*", "If-Match\n\"", "If-None-Match\n*", "Content-Encoding\ngzip",
		"Content-Type\n\nIf-Match\n", "Expect\n100-continue", "Content-Type\napplication/json\nContent-Type\ntext/html", "Idempotency-Key\n\x00\xff",
	} {
		for kind := range byte(6) {
			f.Add(kind, "/v1/users/x", h, []byte(seeds[(len(h)+int(kind))%len(seeds)]))
		}
		f.Add(byte(0), "", h, []byte(`{"email":"fuzz@example.org","name":" Fuzz "}`))
		f.Add(byte(7), "", h, []byte(`{"name":"Fuzz"}`))
	}
	for _, body := range profiles {
		for _, kind := range []byte{0, 7} { // POST, and PATCH of who is there
			f.Add(kind, "", "Content-Type\napplication/json", []byte(body))
		}
	}
	f.Add(byte(14), "/v1/users/{01890000-0000-7000-8000-000000000000}", "", []byte(nil))
	f.Add(byte(13), "/v1/users/%2e%2e\x00/", "", []byte(nil))
	st := openStore(f)
	d := New(st, discard())
	f.Fuzz(func(t *testing.T, kind byte, tail, headers string, body []byte) {
		before := someUser(t, st)
		method := fuzzMethods[int(kind)%len(fuzzMethods)]
		path := fuzzPaths[int(kind)/len(fuzzMethods)%len(fuzzPaths)](before.ID, tail)
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path}, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		}
		for parts := strings.Split(headers, "\n"); len(parts) > 1; parts = parts[2:] {
			r.Header.Add(parts[0], parts[1])
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r.WithContext(t.Context()))
		checkAnswer(t, st, before, w, body)
	})
}

// someUser returns the user that the requests of FuzzRequest are about: another one where the last was deleted.
func someUser(t *testing.T, st *store.Store) store.User {
	t.Helper()
	all, err := st.List(t.Context(), "", 1)
	if err == nil && len(all) == 0 {
		var u store.User
		u, err = st.Create(t.Context(), store.Profile{Email: "somebody@example.org", Name: "Somebody"})
		all = append(all, u)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func checkAnswer(t *testing.T, st *store.Store, before store.User, w *httptest.ResponseRecorder, body []byte) {
	t.Helper()
	switch {
	case w.Code == http.StatusCreated || w.Code == http.StatusOK:
		checkStored(t, st, w, body)
	case w.Code == http.StatusNoContent:
		if u, err := st.Get(t.Context(), before.ID); err != nil || u.DeleteTime.IsZero() || u.Profile != (store.Profile{}) {
			t.Errorf("deleted, and there is %+v, %v", u, err)
		}
	case w.Code >= 400 && w.Code < 500:
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Detail == "" {
			t.Errorf("refused by %d %s: %v", w.Code, w.Body, err)
		}
		if u, err := st.Get(t.Context(), before.ID); err != nil || !proto.Equal(u.Proto(), before.Proto()) {
			t.Errorf("refused by %d, and %+v became %+v, %v", w.Code, before, u, err)
		}
	default:
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

// checkStored compares the answer, the store, and what was sent.
func checkStored(t *testing.T, st *store.Store, w *httptest.ResponseRecorder, body []byte) {
	t.Helper()
	var answered usersv1.User
	var sent usersv1.UpdateUserRequest // the fields of a create, and says which are there
	if err := errors.Join(protojson.Unmarshal(w.Body.Bytes(), &answered), protojson.Unmarshal(body, &sent)); err != nil {
		t.Fatalf("%q is answered by %s: %v", body, w.Body, err)
	}
	u, err := st.Get(t.Context(), answered.GetId())
	if err != nil || !proto.Equal(u.Proto(), &answered) {
		t.Errorf("answered %v, and the store has %+v, %v", &answered, u, err)
	}
	checkProfile(t, body, &sent, u.Profile)
	if got := w.Header().Get("ETag"); got != etag(u.Version) {
		t.Errorf("ETag %s of version %d", got, u.Version)
	}
}

// checkProfile compares what was sent with what is stored.
func checkProfile(t *testing.T, body []byte, sent *usersv1.UpdateUserRequest, p store.Profile) {
	t.Helper()
	for _, f := range []struct {
		sent   *string
		stored string
	}{
		{sent.Email, p.Email}, {sent.DisplayName, p.DisplayName}, {sent.Name, p.Name},
		{sent.GivenName, p.NameParts().Given}, {sent.FamilyName, p.NameParts().Family},
	} {
		inParts := sent.GetGivenName() != "" || sent.GetFamilyName() != ""
		if f.sent != nil && strings.TrimSpace(*f.sent) != f.stored && !(*f.sent == "" && inParts) && !(f.sent != sent.Name && f.sent != sent.Email && *f.sent == "") {
			t.Errorf("%q is stored as %+v", body, p)
		}
	}
	if p.Parts.Join() != p.Name && p.Parts != (store.Parts{}) || p.NameParts().Join() != p.Name {
		t.Errorf("%q: the parts of %+v don't make its name", body, p)
	}
	if tag, detail := readLocale(p.Locale); detail != "" || tag != p.Locale || sent.Locale != nil && (p.Locale == "") != (*sent.Locale == "") {
		t.Errorf("%q: the locale %q is not as it would be stored: %q, %s", body, p.Locale, tag, detail)
	}
	if p.Phone != "" && !e164.MatchString(p.Phone) || sent.Phone != nil && (p.Phone == "") != (*sent.Phone == "") {
		t.Errorf("%q: the number is stored as %q", body, p.Phone)
	}
}

// e164 is what events promise of a number.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{1,14}$`)
