package door

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// noField is what is said of a field that there isn't.
const noField = "is not a field here; there is email, name, displayName, locale, phone, givenName, familyName, nameOrder"

func TestEveryFieldAtFaultIsNamedAtOnce(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	for _, test := range []struct {
		name, method, body string
		want               map[string]string
	}{
		{"nothing there", "POST", `{}`, map[string]string{"email": "is required", "name": "is required"}},
		{"null", "POST", `{"email":null,"name":null}`, map[string]string{"email": "is required", "name": "is required"}},
		{"unknown, mistyped and invalid", "POST", `{"mail":"a@b.c","name":7,"email":"x","admin":{"really":true}}`, map[string]string{
			"mail": noField, "admin": noField,
			"name": "is a number, and must be a string", "email": `"x" is not an address`,
		}},
		{"mistyped in all ways", "POST", `{"email":["a@b.c"],"name":{"first":"Ada"}}`, map[string]string{
			"email": "is an array, and must be a string", "name": "is an object, and must be a string",
		}},
		{"booleans", "POST", `{"email":true,"name":false}`, map[string]string{
			"email": "is a boolean, and must be a string", "name": "is a boolean, and must be a string",
		}},
		{"twice", "POST", `{"email":"a@b.c","name":"A","name":"B"}`, map[string]string{"name": "stands there more than once"}},
		{"twice, by way of an escape", "POST", `{"email":"a@b.c","name":"A","n\u0061me":"A"}`, map[string]string{"name": "stands there more than once"}},
		{"twice, null first", "POST", `{"email":null,"email":"a@b.c","name":""}`, map[string]string{
			"email": "stands there more than once", "name": "is required",
		}},
		{"another case", "POST", `{"Email":"a@b.c","name":"A"}`, map[string]string{
			"Email": noField, "email": "is required",
		}},
		{"half a character", "POST", `{"email":"a@b.c","name":"\ud800"}`, map[string]string{"name": "has an escape that is no Unicode character"}},
		{"an extension", "POST", `{"email":"a@b.c","name":"A","[x.y]":1,"@type":"z"}`, map[string]string{
			"[x.y]": noField, "@type": noField,
		}},
		{"a field's number", "POST", `{"1":"a@b.c","email":"a@b.c","name":"A","":0}`, map[string]string{
			"1": noField, "": noField,
		}},
		{"a change to nothing", "PATCH", `{"email":"","name":""}`, map[string]string{"email": "is required", "name": "is required"}},
		{"a change to blanks", "PATCH", `{"name":" \t "}`, map[string]string{"name": "is required"}},
		{"a change of what is given", "PATCH", `{"id":"1","version":2,"createTime":"x","name":3}`, map[string]string{
			"id": noField, "version": noField,
			"createTime": noField, "name": "is a number, and must be a string",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := "/v1/users"
			if test.method == "PATCH" {
				target = path
			}
			a := c.do(test.method, target, test.body).wants(http.StatusBadRequest)
			if got := a.faults(); !maps.Equal(got, test.want) {
				t.Errorf("%s: errors are %q, want %q", test.body, got, test.want)
			}
		})
	}
	c.do("PATCH", path, `{}`).wants(http.StatusOK).wantsETag(`"1"`) // and nothing came of it
}

func TestWhatIsNoJSONObjectIsRefusedAsSuch(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	good := `{"email":"a@b.c","name":"A"}`
	for name, body := range map[string]string{
		"blank":               " \n",
		"an array":            `[` + good + `]`,
		"a string":            `"a"`,
		"null":                `null`,
		"a number":            `12`,
		"cut short":           good[:10],
		"garbage behind":      good + `x`,
		"a second object":     good + good,
		"a comma behind":      good + `,`,
		"a comma at the end":  `{"email":"a@b.c","name":"A",}`,
		"single quotes":       `{'email':'a@b.c'}`,
		"a comment":           `{"email":"a@b.c"/* me */,"name":"A"}`,
		"no quotes":           `{email:1}`,
		"a line in a string":  "{\"email\":\"a@b.c\",\"name\":\"A\nB\"}",
		"zero byte in string": "{\"email\":\"a@b.c\",\"name\":\"A\x00B\"}",
		"zero byte behind":    good + "\x00",
		"not UTF-8":           "{\"email\":\"a@b.c\",\"name\":\"\xff\xfe\"}",
		"surrogates in UTF-8": "{\"email\":\"a@b.c\",\"name\":\"\xed\xa0\x80\"}",
		"UTF-16":              "\xff\xfe{\x00}\x00",
		"a byte order mark":   "\ufeff" + good,
		"deep":                `{"email":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}`,
		"deep objects":        strings.Repeat(`{"a":`, 10_500) + "1" + strings.Repeat("}", 10_500),
		"deep and open":       strings.Repeat("[", 60_000),
		"XML":                 `<user/>`,
		"a form":              `email=a@b.c&name=A`,
	} {
		for _, target := range []string{"POST /v1/users", "PATCH " + path} {
			method, path, _ := strings.Cut(target, " ")
			if a := c.do(method, path, body); a.status != http.StatusBadRequest {
				t.Errorf("%s: %s answers %d %s", name, method, a.status, a.body)
			} else if faults := a.wants(http.StatusBadRequest).faults(); len(faults) > 0 {
				t.Errorf("%s: errors name fields: %v", name, faults)
			}
		}
	}
	c.do("POST", "/v1/users", "", "Content-Type", "application/json").wants(http.StatusBadRequest) // empty
}

func TestOnlyJSONIsTaken(t *testing.T) {
	c := open(t)
	good := `{"email":"a@b.c","name":"A"}`
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/xml", "application/json; charset=latin1", "application/merge-patch+json", ";;", "application/json, text/plain"} {
		if got := c.do("POST", "/v1/users", good, "Content-Type", kind).wants(http.StatusUnsupportedMediaType).header.Get("Accept"); got != "application/json" {
			t.Errorf("Content-Type %q: Accept is %q", kind, got)
		}
	}
	if got := c.do("POST", "/v1/users", good, "Content-Encoding", "gzip").wants(http.StatusUnsupportedMediaType).header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("Accept-Encoding is %q", got)
	}
	for i, kind := range []string{"application/json; charset=utf-8", "Application/JSON", `application/json;charset="UTF-8"`} {
		path := c.created(string(rune('a'+i))+"@example.org", "A")
		c.do("PATCH", path, `{"name":"B"}`, "Content-Type", kind).wants(http.StatusOK)
	}
}

func TestAnAnswerRepeatsLittleOfTheRequest(t *testing.T) {
	c := open(t)
	var many strings.Builder
	for i := range 5000 {
		many.WriteString(`,"` + strings.Repeat("x", i%9) + string(rune('一'+i)) + `":0`)
	}
	a := c.do("POST", "/v1/users", `{"email":"a@b.c"`+many.String()+`,"name":"A"}`).wants(http.StatusBadRequest)
	if n := len(a.problem().Errors); n != maxFaults {
		t.Errorf("5000 faults are answered by %d", n)
	}
	if !strings.Contains(a.problem().Detail, "(and 4999 more)") {
		t.Errorf("detail is %q", a.problem().Detail)
	}
	if _, there := a.faults()["name"]; there {
		t.Error("a field that is all right is called faulty")
	}
	long := strings.Repeat("ä", 20_000)
	for _, body := range []string{`{"` + long + `":1}`, `{"email":"` + long[:250] + `","name":"A"}`} {
		if a := c.do("POST", "/v1/users", body).wants(http.StatusBadRequest); len(a.body) > 1000 {
			t.Errorf("a long request is answered by %d bytes: %s", len(a.body), a.body)
		}
	}
	c.do("PATCH", "/v1/users/01890000-0000-7000-8000-000000000000", `{}`, "If-Match", strings.Repeat("x", 10_000)).wants(http.StatusBadRequest)
}

// seeds are bodies of every kind that the tests above know.
var seeds = []string{
	``, `{}`, `null`, `[]`, `{"email":"ada@example.org","name":"Ada"}`, `{"email":null,"name":null}`,
	`{"email":"ada@example.org","name":"Ada","name":"B"}`, `{"email":1,"name":[{}]}`, `{"x":{"y":[1,2,{"z":null}]}}`,
	`{"email":"\ud83d\ude00@example.org","name":"\ud83d\ude00"}`, `{"name":"\ud800"}`, `{"name":"\u0000"}`,
	"{\"name\":\"\xff\"}", `{"email":"a@b.c","name":"A"} x`, `{"[a.b]":1}`, `{"@type":"x"}`, "\ufeff{}",
	`{"email":"\"a b\"@example.org"}`, `{"email":"a@[127.0.0.1]"}`, `{"email":"A <a@b.c>"}`, `{"\u0065mail":"a@b.c"}`,
	`{"email":"a@b.c","name":"` + "\u202e\u200b" + `"}`, strings.Repeat("[", 1000), `{"a":` + strings.Repeat(`{"a":`, 200),
}

// profiles are bodies with every field, in every way that the tests of fields know.
var profiles = []string{
	`{"email":"a@b.c","givenName":" Ada ","familyName":"Lovelace","nameOrder":"NAME_ORDER_GIVEN_FIRST","displayName":"Ada","locale":"en-gb","phone":"+44 (20) 7946-0000"}`,
	`{"email":"a@b.c","family_name":"Nagy","given_name":"Ilona","name_order":2}`, `{"name":"A","display_name":null,"locale":"","phone":""}`,
	`{"name":"A B","givenName":"A"}`, `{"givenName":"","familyName":""}`, `{"familyName":" "}`, `{"nameOrder":1}`, `{"nameOrder":0}`,
	`{"givenName":"A","nameOrder":3}`, `{"givenName":"A","nameOrder":-1}`, `{"givenName":"A","nameOrder":"X"}`, `{"nameOrder":1e0,"givenName":"A"}`,
	`{"nameOrder":null,"givenName":null,"name":"A"}`, `{"givenName":"A  B","familyName":"C D"}`, `{"name":"A  B "}`, `{"displayName":"\u200b"}`,
	`{"locale":"i-enochian"}`, `{"locale":"zh-min-nan"}`, `{"locale":"de_CH"}`, `{"locale":"en-us-posix"}`, `{"locale":"de-u-co-phonebk-x-foo"}`,
	`{"phone":"+1"}`, `{"phone":"+41 (0)44 364 32 32"}`, `{"phone":"+٤١"}`, `{"phone":"+"}`, `{"phone":"+1-"}`, `{"email":"a@b.c","name":"","givenName":"A"}`,
}

// FuzzBody sends anything as a body, and expects a write or a refusal, but no fault of ours.
func FuzzBody(f *testing.F) {
	for _, s := range slices.Concat(seeds, profiles) {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	d := New(openStore(f), discard())
	u, err := d.users.Create(f.Context(), store.Profile{Email: "fuzz@example.org", Name: "Fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, patch bool) {
		method, path := "POST", usersPath
		if patch {
			method, path = "PATCH", location(u.ID)
		}
		r := httptest.NewRequest(method, path, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusCreated, http.StatusOK:
			if err := protojson.Unmarshal(w.Body.Bytes(), &usersv1.User{}); err != nil {
				t.Errorf("%q answers %s: %v", body, w.Body, err)
			}
		case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge:
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Detail == "" {
				t.Errorf("%q answers %s: %v", body, w.Body, err)
			}
		default:
			t.Errorf("%q answers %d %s", body, w.Code, w.Body)
		}
	})
}

// FuzzParse checks that looking for every fault refuses exactly what protojson refuses.
func FuzzParse(f *testing.F) {
	for _, s := range slices.Concat(seeds, profiles) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want usersv1.UpdateUserRequest
		faults, err := parse(body, &got)
		refused := protojson.Unmarshal(body, &want) != nil
		if (err != nil || len(faults) > 0) != refused {
			t.Errorf("%q: protojson refuses: %v; parse: %v %v", body, refused, faults, err)
		}
		fields := make([]string, len(faults))
		for i, f := range faults {
			fields[i] = f.Field
		}
		if err == nil && !refused && !proto.Equal(&got, &want) {
			t.Errorf("%q is read as %v, and by protojson as %v", body, &got, &want)
		}
		if slices.Contains(fields, "email") && got.Email != nil && !strings.Contains(string(body), "mail") {
			t.Errorf("%q: a faulty field has a value: %v", body, &got)
		}
	})
}
