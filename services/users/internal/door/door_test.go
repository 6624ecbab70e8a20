package door

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestPostAnswersTheUserWithLocationAndETag(t *testing.T) {
	c := open(t)
	a := c.create("Ada@Example.org", "  Ada Lovelace ").wants(http.StatusCreated).wantsETag(`"1"`)
	u := a.user()
	if got := a.header.Get("Location"); got != "/v1/users/"+u.GetId() {
		t.Errorf("Location is %q for user %s", got, u.GetId())
	}
	if id, err := uuid.Parse(u.GetId()); err != nil || id.Version() != 7 {
		t.Errorf("the id is %q, want a UUIDv7", u.GetId())
	}
	if u.GetEmail() != "Ada@Example.org" || u.GetName() != "Ada Lovelace" || u.GetVersion() != 1 {
		t.Errorf("the user is %v", u)
	}
	if !u.GetCreateTime().IsValid() || u.GetUpdateTime().AsTime() != u.GetCreateTime().AsTime() {
		t.Errorf("times are %v and %v", u.GetCreateTime(), u.GetUpdateTime())
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
}

func TestPatchChangesWhatItNamesAndNothingElse(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada Byron")
	u := c.do("PATCH", path, `{"name":" Ada Lovelace"}`).wants(http.StatusOK).wantsETag(`"2"`).user()
	if u.GetEmail() != "ada@example.org" || u.GetName() != "Ada Lovelace" || u.GetVersion() != 2 {
		t.Errorf("after a new name: %v", u)
	}
	u = c.do("PATCH", path, `{"email":"lovelace@example.org","name":null}`).wants(http.StatusOK).wantsETag(`"3"`).user()
	if u.GetEmail() != "lovelace@example.org" || u.GetName() != "Ada Lovelace" {
		t.Errorf("after a new address: %v", u)
	}
	c.create("ada@example.org", "Another").wants(http.StatusCreated) // the old address is free
}

func TestPatchThatChangesNothingKeepsTheVersion(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	for _, body := range []string{`{}`, `{"name":"Ada"}`, `{"name":"  Ada "}`, `{"email":"ada@example.org","name":null}`} {
		c.do("PATCH", path, body).wants(http.StatusOK).wantsETag(`"1"`)
		c.do("PATCH", path, body, "If-Match", `"1"`).wants(http.StatusOK).wantsETag(`"1"`)
	}
	c.do("PATCH", path, `{"email":"ADA@example.org"}`).wants(http.StatusOK).wantsETag(`"2"`) // case is kept, so this is a change
}

func TestAnAddressInUseIsAConflictWithItsHolder(t *testing.T) {
	c := open(t)
	ada, grace := c.created("ada@example.org", "Ada"), c.created("grace@example.org", "Grace")
	for name, a := range map[string]answer{
		"the same":         c.create("ada@example.org", "Other"),
		"in another case":  c.create("ADA@EXAMPLE.ORG", "Other"),
		"by a change":      c.do("PATCH", grace, `{"email":"Ada@example.org"}`),
		"by a name change": c.do("PATCH", grace, `{"email":"Ada@example.org","name":"Ada"}`),
	} {
		if got := a.wants(http.StatusConflict).header.Get("Location"); got != ada {
			t.Errorf("%s: Location is %q, want %q", name, got, ada)
		}
		if a.faults()["email"] == "" {
			t.Errorf("%s: the address is not among the errors: %s", name, a.body)
		}
	}
	c.do("PATCH", grace, `{"name":"Grace Hopper"}`).wants(http.StatusOK).wantsETag(`"2"`) // refusals took no version
}

func TestAddressesAreComparedByUnicodeCaseFolding(t *testing.T) {
	c := open(t)
	holder := c.created("straße@bücher.example", "Hans")
	if got := c.create("STRASSE@BÜCHER.example", "Hans").wants(http.StatusConflict).header.Get("Location"); got != holder {
		t.Errorf("Location is %q, want %q", got, holder)
	}
	c.create("strase@bücher.example", "Hans").wants(http.StatusCreated)
}

func TestDeleteLeavesATombstone(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	c.do("DELETE", path, "").wants(http.StatusNoContent).wantsETag(`"2"`)
	a := c.do("DELETE", path, "").wants(http.StatusNoContent).wantsETag(`"2"`) // repeatable
	if a.body != "" || a.header.Get("Content-Type") != "" {
		t.Errorf("204 has a body: %q %q", a.header.Get("Content-Type"), a.body)
	}
	c.do("PATCH", path, `{"name":"Ada"}`).wants(http.StatusNotFound)
	c.do("PATCH", path, `{}`, "If-Match", `"2"`).wants(http.StatusNotFound)
	if again := c.created("ada@example.org", "Ada"); again == path {
		t.Error("an id was used again")
	}
}

func TestDeleteCanBeSentAgainWithTheSameIfMatch(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	c.do("PATCH", path, `{"name":"Ada L"}`).wants(http.StatusOK)
	c.do("DELETE", path, "", "If-Match", `"1"`).wants(http.StatusPreconditionFailed).wantsETag(`"2"`)
	for range 2 {
		c.do("DELETE", path, "", "If-Match", `"2"`).wants(http.StatusNoContent).wantsETag(`"3"`)
	}
	c.do("DELETE", path, "", "If-Match", `"3"`).wants(http.StatusNoContent).wantsETag(`"3"`)
	c.do("DELETE", path, "", "If-Match", `*`).wants(http.StatusNoContent).wantsETag(`"3"`)
	c.do("DELETE", path, "", "If-Match", `"1"`).wants(http.StatusPreconditionFailed).wantsETag(`"3"`)
}

func TestIfMatch(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	c.do("PATCH", path, `{"name":"B"}`).wants(http.StatusOK).wantsETag(`"2"`)
	for _, test := range []struct {
		value string
		want  int
	}{
		{`"2"`, http.StatusOK},
		{` "2" `, http.StatusOK},
		{`*`, http.StatusOK},
		{`"1", "2"`, http.StatusOK},
		{`"2","1"`, http.StatusOK},
		{`,, "x" ,"2",`, http.StatusOK},
		{`W/"1", "2"`, http.StatusOK},
		{`"1"`, http.StatusPreconditionFailed},
		{`"3"`, http.StatusPreconditionFailed},
		{`W/"2"`, http.StatusPreconditionFailed},
		{`"02"`, http.StatusPreconditionFailed},
		{`"+2"`, http.StatusPreconditionFailed},
		{`""`, http.StatusPreconditionFailed},
		{`"two"`, http.StatusPreconditionFailed},
		{`"18446744073709551616"`, http.StatusPreconditionFailed},
		{`2`, http.StatusBadRequest},
		{`"2`, http.StatusBadRequest},
		{`"1" "2"`, http.StatusBadRequest},
		{`w/"2"`, http.StatusBadRequest},
		{`*, "2"`, http.StatusBadRequest},
		{`,`, http.StatusBadRequest},
		{` `, http.StatusBadRequest},
	} {
		a := c.do("PATCH", path, `{"name":"B"}`, "If-Match", test.value)
		if a.status != test.want {
			t.Errorf("If-Match: %s answers %d %s, want %d", test.value, a.status, a.body, test.want)
			continue
		}
		if a.wants(test.want); test.want != http.StatusBadRequest {
			a.wantsETag(`"2"`)
		}
	}
}

func TestIfMatchOnSeveralLinesIsOneList(t *testing.T) {
	h := http.Header{"If-Match": {`"1"`, `"2"`}}
	p, err := readPrecondition(h)
	if err != nil || p == nil || fmt.Sprint(p.Versions) != "[1 2]" {
		t.Errorf("two lines read as %v, %v", p, err)
	}
}

// An empty one is none that could be shown.
func TestAnEmptyIfMatchIsCalledThat(t *testing.T) {
	for _, value := range []string{"", " ", ",", "\t, ,"} {
		_, err := readPrecondition(http.Header{"If-Match": {value}})
		var p *problem
		if !errors.As(err, &p) || !strings.Contains(p.Detail, "If-Match is empty") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestIfNoneMatchKeepsWhatIsThere(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	c.do("PATCH", path, `{"name":"B"}`, "If-None-Match", "*").wants(http.StatusPreconditionFailed).wantsETag(`"1"`)
	c.do("DELETE", path, "", "If-None-Match", " *").wants(http.StatusPreconditionFailed).wantsETag(`"1"`)
	for _, value := range []string{`"1"`, `"2"`, `W/"7"`, "x", ","} {
		c.do("PATCH", path, `{"name":"B"}`, "If-None-Match", value).wants(http.StatusBadRequest)
	}
	if u := c.do("PATCH", path, `{}`).wants(http.StatusOK).user(); u.GetName() != "Ada" {
		t.Errorf("changed: %v", u)
	}
	c.do("PATCH", "/v1/users/01890000-0000-7000-8000-000000000000", `{"name":"B"}`, "If-None-Match", "*").wants(http.StatusNotFound)
}

func TestWhoIsNotThereIsNotFound(t *testing.T) {
	c := open(t)
	for _, id := range []string{"01890000-0000-7000-8000-000000000000", "x", "01890000000070008000000000000000", "%00", "%FF%FE", "{01890000-0000-7000-8000-000000000000}"} {
		for _, header := range []string{"", `"1"`, `*`} {
			c.do("PATCH", "/v1/users/"+id, `{"name":"A"}`, "If-Match", header).wants(http.StatusNotFound)
			c.do("DELETE", "/v1/users/"+id, "", "If-Match", header).wants(http.StatusNotFound)
		}
	}
}

func TestIdsAreTakenInEitherCase(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	upper := "/v1/users/" + strings.ToUpper(strings.TrimPrefix(path, "/v1/users/"))
	c.do("PATCH", upper, `{"name":"B"}`).wants(http.StatusOK).wantsETag(`"2"`)
	c.do("DELETE", upper, "").wants(http.StatusNoContent).wantsETag(`"3"`)
}

func TestPathsAndMethodsThatAreNotThere(t *testing.T) {
	c := open(t)
	id := "/v1/users/01890000-0000-7000-8000-000000000000"
	for _, path := range []string{"/", "/v1", "/v1/user", "/v1/users/", "/v2/users", "/v1/users//", id + "/", id + "/x", "/v1//users", "/v1/./users", "/V1/users", "/v1/users;x", "/favicon.ico"} {
		for _, method := range []string{"GET", "POST", "PATCH", "DELETE", "PUT"} {
			if a := c.do(method, path, ""); a.status != http.StatusNotFound {
				t.Errorf("%s %s answers %d %s", method, path, a.status, a.body)
			} else {
				a.wants(http.StatusNotFound)
			}
		}
	}
	for path, allow := range map[string]string{"/v1/users": "POST", id: "PATCH, DELETE"} {
		for _, method := range []string{"GET", "PUT", "OPTIONS", "TRACE", "POST", "PATCH", "DELETE", "BREW"} {
			if strings.Contains(allow, method) {
				continue
			}
			if got := c.do(method, path, "").wants(http.StatusMethodNotAllowed).header.Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, got, allow)
			}
		}
		if a := c.do("HEAD", path, ""); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != allow {
			t.Errorf("HEAD %s answers %d, Allow %q", path, a.status, a.header.Get("Allow"))
		}
	}
}
