package importer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bodies are what a door is sent for an input, by the address.
func bodies(t *testing.T, rows Rows) map[string]map[string]string {
	t.Helper()
	var mu sync.Mutex
	got := map[string]map[string]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got[body["email"]] = body
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	if res, err := Run(t.Context(), Config{Door: srv.URL, Rows: rows}); err != nil || res.Bad != 0 {
		t.Errorf("%v, %v", res, err)
	}
	return got
}

func TestEveryFieldOfTheDoorMayBeAColumnOrAMember(t *testing.T) {
	ada := map[string]string{"email": "a@x.org", "name": "Ada King", "displayName": "Ada", "locale": "en-GB", "phone": "+442079460000"}
	ilona := map[string]string{"email": "i@x.org", "name": "", "givenName": "Ilona", "familyName": "Nagy", "nameOrder": "NAME_ORDER_FAMILY_FIRST"}
	plain := map[string]string{"email": "p@x.org", "name": "Plain"}
	for about, c := range map[string]struct {
		in   string
		want []map[string]string
	}{
		"as databases spell them": {"email,name,display_name,locale,phone,note\na@x.org,Ada King,Ada,en-GB,+442079460000,x\np@x.org,Plain,,,,\n", []map[string]string{ada, plain}},
		"as the door does":        {"phone, Locale,displayName,NAME,email\n+442079460000,en-GB,Ada,Ada King,a@x.org\n", []map[string]string{ada}},
		"short rows":              {"email,name,display_name,phone\np@x.org,Plain\n", []map[string]string{plain}},
		"the name in parts":       {"name_order,family_name,given_name,email\nNAME_ORDER_FAMILY_FIRST,Nagy,Ilona,i@x.org\n", []map[string]string{ilona}},
		"both, and the name counts": {
			"email,name,given_name,family_name,name_order\np@x.org,Plain,Someone,Else,\ni@x.org,,Ilona,Nagy,NAME_ORDER_FAMILY_FIRST\n",
			[]map[string]string{plain, ilona},
		},
		"an order without parts is the file's own": {"email,name,name_order\np@x.org,Plain,7\n", []map[string]string{plain}},
		"members": {
			`{"email":"a@x.org","name":"Ada King","displayName":"Ada","Locale":"en-GB","phone":"+442079460000","note":{"x":1}}` + "\n" +
				`{"email":"i@x.org","given_name":"Ilona","family_name":"Nagy","name_order":"NAME_ORDER_FAMILY_FIRST","display_name":null}`,
			[]map[string]string{ada, ilona},
		},
		"a member without a name": {`{"email":"p@x.org","name":"Plain","":"en"}` + "\n" + `{"email":"q@x.org","name":"Plain","":7}`,
			[]map[string]string{plain, {"email": "q@x.org", "name": "Plain"}}},
		"members in two spellings": {`{"email":"a@x.org","name":"Ada King","display_name":"X","displayName":"Ada","DISPLAYNAME":"Y","locale":"en-GB","phone":"+442079460000"}`, []map[string]string{ada}},
	} {
		t.Run(about, func(t *testing.T) {
			want := map[string]map[string]string{}
			for _, body := range c.want {
				want[body["email"]] = body
			}
			if diff := cmp.Diff(want, bodies(t, Read(strings.NewReader(c.in)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFieldThatCantBeReadIsABadRow(t *testing.T) {
	for in, want := range map[string]string{
		"email,name,phone\na@x.org,A,\xff\n":               "bad: phone: is not UTF-8",
		"email,name,display_name\na@x.org,A,\"B\nC\"\n":    "bad: displayName: has a line break; is a quote not closed?",
		`{"email":"a@x.org","name":"A","phone":41}`:        "bad: phone: is a number, and must be a string",
		`{"email":"a@x.org","name":"A","name_order":[]}`:   "bad: nameOrder: is an array, and must be a string",
		"email,family_name,given_name\na@x.org,King\n":     "bad: the row has 2 columns; it must have 3",
		"email,given_name\n\"a@x.org\",Ada\nb@x.org\n":     "bad: the row has 1 columns; it must have 2",
		"email,given_name,phone\n\"a\"@x.org,Ada,\n":       `bad: a " is opened and not closed where the field ends`,
		`{"email":"a@x.org","name":"A","locale":"\ud83d"}`: `bad: locale: is not UTF-8: a \u escape is half of a character`,
	} {
		if got, err := read(t, Read(strings.NewReader(in))); err != nil || len(got) == 0 || got[len(got)-1] != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

// A bad row that was mended is imported whole.
func TestTheFileOfBadRowsKeepsEveryFieldAndCanBeImported(t *testing.T) {
	_, url := newFakeDoor(t)
	bad := filepath.Join(t.TempDir(), "in.bad.csv")
	in := "email,given_name,family_name,name_order,display_name,locale,phone\nx,Ilona,Nagy,NAME_ORDER_FAMILY_FIRST,Ili,hu,+3612345678\n"
	if res, err := Run(t.Context(), Config{Door: url, Rows: Read(strings.NewReader(in)), BadFile: bad}); err != nil || res.Bad != 1 {
		t.Fatalf("%v, %v", res, err)
	}
	text, err := os.ReadFile(bad)
	if err != nil {
		t.Fatal(err)
	}
	mended := strings.Replace(string(text), ",x,", ",i@x.org,", 1)
	want := map[string]map[string]string{"i@x.org": {
		"email": "i@x.org", "name": "", "givenName": "Ilona", "familyName": "Nagy", "nameOrder": "NAME_ORDER_FAMILY_FIRST",
		"displayName": "Ili", "locale": "hu", "phone": "+3612345678",
	}}
	if diff := cmp.Diff(want, bodies(t, Read(strings.NewReader(mended)))); diff != "" {
		t.Errorf("of %s\n%s", mended, diff)
	}
}

func TestTheFileOfBadRowsOfTheReleaseBeforeIsKnown(t *testing.T) {
	_, url := newFakeDoor(t)
	bad := filepath.Join(t.TempDir(), "in.bad.csv")
	if err := os.WriteFile(bad, []byte("line,reason,email,name,raw\n2,bad,x,Eve,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Config{Door: url, Rows: Read(strings.NewReader("email,name\na@x.org,Ada\n")), BadFile: bad}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bad); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// An import that 0.1.0 began goes on: who is there is found by the address.
func TestASampleHasTheNamesAndAddressesOfTheReleaseBefore(t *testing.T) {
	got, err := read(t, Sample(3, 7))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"sienna.atkinson.7.1@example.com|Sienna Atkinson", "logan.cooper.7.2@example.com|Logan Cooper", "carrie.gray.7.3@example.com|Carrie Gray",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var one, again []Row
	for row := range Sample(plain+300, 7) {
		one = append(one, row)
	}
	for row := range Sample(plain+300, 7) {
		again = append(again, row)
	}
	if diff := cmp.Diff(one, again); diff != "" {
		t.Error(diff)
	}
	var named, placed, phoned int
	for i, row := range one {
		if i < plain && row.DisplayName+row.Locale+row.Phone != "" {
			t.Errorf("the first ones say no more: %+v", row)
		}
		named += min(len(row.DisplayName), 1)
		placed += min(len(row.Locale), 1)
		phoned += min(len(row.Phone), 1)
		if row.Phone != "" && (!strings.HasPrefix(row.Phone, "+442079460") || len(row.Phone) != 13) {
			t.Errorf("somebody might answer at %q", row.Phone)
		}
	}
	for _, n := range []int{named, placed, phoned} {
		if n < 60 || n > 140 {
			t.Errorf("of 300 later ones %d, %d, %d have a display name, a locale, a number; want about a third", named, placed, phoned)
		}
	}
}
