package door

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
)

func TestPostTakesEveryField(t *testing.T) {
	c := open(t)
	body := `{"email":"ilona@example.org","givenName":" Ilona ","familyName":"Nagy\t","nameOrder":"NAME_ORDER_FAMILY_FIRST",
		"displayName":" Ili\n","locale":"hu-hu","phone":"+36 (1) 234-56.78"}`
	u := c.do("POST", "/v1/users", body).wants(http.StatusCreated).wantsETag(`"1"`).user()
	want := &usersv1.User{
		Id: u.GetId(), Email: "ilona@example.org", Name: "Nagy Ilona", Version: 1, CreateTime: u.GetCreateTime(), UpdateTime: u.GetUpdateTime(),
		DisplayName: "Ili", Locale: "hu-HU", Phone: "+3612345678",
		GivenName: "Ilona", FamilyName: "Nagy", NameOrder: usersv1.NameOrder_NAME_ORDER_FAMILY_FIRST,
	}
	if u.String() != want.String() {
		t.Errorf("it is %v, want %v", u, want)
	}
	again := c.do("POST", "/v1/users", strings.ReplaceAll(body, "ilona@", "ILONA@")).wants(http.StatusConflict)
	if got := again.header.Get("Location"); got != "/v1/users/"+u.GetId() {
		t.Errorf("sent again, it finds %q", got)
	}
}

func TestProtobufsOtherSpellingIsTakenToo(t *testing.T) {
	c := open(t)
	u := c.do("POST", "/v1/users", `{"email":"a@b.c","given_name":"Ada","family_name":"King","name_order":1,"display_name":"A"}`).wants(http.StatusCreated).user()
	if u.GetName() != "Ada King" || u.GetDisplayName() != "A" || u.GetNameOrder() != usersv1.NameOrder_NAME_ORDER_GIVEN_FIRST {
		t.Errorf("it is %v", u)
	}
	a := c.do("POST", "/v1/users", `{"email":"x@b.c","name":"X","displayName":"X","display_name":"Y"}`).wants(http.StatusBadRequest)
	if want := map[string]string{"displayName": "stands there more than once"}; !maps.Equal(a.faults(), want) {
		t.Errorf("errors are %q", a.faults())
	}
}

func TestANameInOneStringIsAnsweredInPartsToo(t *testing.T) {
	c := open(t)
	for name, want := range map[string][2]string{
		"Ada": {"Ada", ""}, "Ada Lovelace": {"Ada", "Lovelace"}, "Ada Augusta King": {"Ada Augusta", "King"}, "Ada  King": {"Ada ", "King"},
	} {
		u := c.create(strings.ReplaceAll(name, " ", ".")+"@example.org", name)
		if name == "Ada  King" {
			u = c.create("two.spaces@example.org", name)
		}
		if got := u.wants(http.StatusCreated).user(); got.GetName() != name || got.GetGivenName() != want[0] || got.GetFamilyName() != want[1] || got.GetNameOrder() != 0 {
			t.Errorf("%q is answered as %v", name, got)
		}
	}
}

// A PATCH is a step from what the one before has left.
func TestPatchOfTheFieldsOfAProfile(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada Byron")
	for _, step := range []struct{ body, etag, want string }{
		{`{"displayName":"Ada","locale":"EN-gb","phone":"+44 20 7946 0000"}`, `"2"`, "Ada Byron|Ada|Byron|0|Ada|en-GB|+442079460000"},
		{`{"displayName":" Ada","locale":"en-GB","phone":"+442079460000"}`, `"2"`, "Ada Byron|Ada|Byron|0|Ada|en-GB|+442079460000"},
		{`{"displayName":null,"locale":null,"phone":null,"givenName":null,"nameOrder":null}`, `"2"`, "Ada Byron|Ada|Byron|0|Ada|en-GB|+442079460000"},
		{`{"phone":""}`, `"3"`, "Ada Byron|Ada|Byron|0|Ada|en-GB|"},
		{`{"phone":"","displayName":" ","locale":""}`, `"4"`, "Ada Byron|Ada|Byron|0|||"},
		{`{"givenName":"Ada","familyName":"Byron"}`, `"4"`, "Ada Byron|Ada|Byron|0|||"},
		{`{"givenName":"Ada","familyName":"Byron","nameOrder":"NAME_ORDER_GIVEN_FIRST"}`, `"5"`, "Ada Byron|Ada|Byron|1|||"},
		{`{"name":" Ada Byron "}`, `"5"`, "Ada Byron|Ada|Byron|1|||"},
		{`{"familyName":"King"}`, `"6"`, "King||King|0|||"},
		{`{"givenName":"Ada","familyName":"de la Cruz","nameOrder":2}`, `"7"`, "de la Cruz Ada|Ada|de la Cruz|2|||"},
		{`{"name":"Ada Lovelace"}`, `"8"`, "Ada Lovelace|Ada|Lovelace|0|||"},
		{`{"givenName":"Ada Lovelace","familyName":""}`, `"9"`, "Ada Lovelace|Ada Lovelace||0|||"},
	} {
		u := c.do("PATCH", path, step.body).wants(http.StatusOK).wantsETag(step.etag).user()
		got := strings.Join([]string{u.GetName(), u.GetGivenName(), u.GetFamilyName(), string('0' + rune(u.GetNameOrder())), u.GetDisplayName(), u.GetLocale(), u.GetPhone()}, "|")
		if got != step.want {
			t.Errorf("%s: it is %s, want %s", step.body, got, step.want)
		}
	}
	c.do("PATCH", path, `{"phone":"+41443643232"}`, "If-Match", `"8"`).wants(http.StatusPreconditionFailed).wantsETag(`"9"`)
	c.do("PATCH", path, `{"phone":"+41443643232"}`, "If-Match", `"9"`).wants(http.StatusOK).wantsETag(`"10"`)
}

func TestAFieldOfAProfileAtFaultIsNamed(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Ada")
	const both = "is given in one string and in parts; leave one of the two out"
	const alone = "is given without givenName and familyName"
	const noOrder = "is none of NAME_ORDER_UNSPECIFIED, NAME_ORDER_GIVEN_FIRST, NAME_ORDER_FAMILY_FIRST"
	const unseen = "has nothing in it that can be seen"
	long := strings.Repeat("ä", 100)
	for _, test := range []struct {
		method, fields string
		want           map[string]string
	}{
		{"POST", `"name":"A","givenName":"A"`, map[string]string{"name": both}},
		{"PATCH", `"name":"A","familyName":""`, map[string]string{"name": both}},
		{"PATCH", `"name":"","givenName":"A"`, map[string]string{"name": both}},
		{"POST", `"nameOrder":1`, map[string]string{"nameOrder": alone}},
		{"POST", `"name":"A","nameOrder":1`, map[string]string{"nameOrder": alone}},
		{"PATCH", `"nameOrder":"NAME_ORDER_UNSPECIFIED"`, map[string]string{"nameOrder": alone}},
		{"PATCH", `"name":"\t","nameOrder":2`, map[string]string{"nameOrder": alone, "name": "is required"}},
		{"PATCH", `"givenName":"A","nameOrder":3`, map[string]string{"nameOrder": noOrder}},
		{"POST", `"familyName":"A","nameOrder":-1`, map[string]string{"nameOrder": noOrder}},
		{"POST", `"givenName":"A","nameOrder":"SURNAME_FIRST"`, map[string]string{"nameOrder": noOrder}},
		{"POST", `"nameOrder":{}`, map[string]string{"nameOrder": noOrder}},
		{"POST", `"givenName":7`, map[string]string{"givenName": "is a number, and must be a string"}},
		{"POST", `"givenName":" ","familyName":""`, map[string]string{"givenName": "is required"}},
		{"PATCH", `"givenName":"","familyName":" "`, map[string]string{"givenName": "is required"}},
		{"PATCH", `"familyName":""`, map[string]string{"familyName": "is required"}},
		{"POST", `"givenName":"` + long + `","familyName":"` + long + `"`, map[string]string{"givenName": "makes up a name of 201 characters; a name has at most 200"}},
		{"PATCH", `"familyName":"` + long + long + `ä"`, map[string]string{"familyName": "has 201 characters; a name has at most 200"}},
		{"POST", `"givenName":"A\nB","familyName":"\u200b"`, map[string]string{"givenName": "has a line break or another control character; a name is one line", "familyName": unseen}},
		{"PATCH", `"displayName":"` + long + long + `ä"`, map[string]string{"displayName": "has 201 characters; a name has at most 200"}},
		{"PATCH", `"displayName":"a\u0000b","locale":"german","phone":"044"`, map[string]string{
			"displayName": "has a line break or another control character; a name is one line",
			"locale":      `"german" is not a language tag (BCP 47) that is known; write it like de-CH`,
			"phone":       `"044" is not a number with its country code; write it like +41443643232`,
		}},
		{"POST", `"name":"A","displayName":"\u202e","phone":41,"locale":false`, map[string]string{
			"displayName": unseen, "phone": "is a number, and must be a string", "locale": "is a boolean, and must be a string",
		}},
	} {
		body, target := "{"+test.fields+"}", path
		if test.method == "POST" {
			body, target = `{"email":"new@example.org",`+test.fields+"}", "/v1/users"
		}
		if got := c.do(test.method, target, body).wants(http.StatusBadRequest).faults(); !maps.Equal(got, test.want) {
			t.Errorf("%s %s: errors are %q, want %q", test.method, body, got, test.want)
		}
	}
	c.do("PATCH", path, `{}`).wants(http.StatusOK).wantsETag(`"1"`) // and nothing came of it
	c.create("new@example.org", "New").wants(http.StatusCreated)
}

func TestLocales(t *testing.T) {
	for given, kept := range map[string]string{
		"": "", "de": "de", "DE": "de", "de-ch": "de-CH", "zh-hant-tw": "zh-Hant-TW", "es-419": "es-419", "sr-LATN-rs": "sr-Latn-RS",
		"iw": "he", "en-Latn": "en", "zh-min-nan": "nan", "de-DD": "de-DE", "de-CH-1901": "de-CH-1901", "en-US-x-twain": "en-US-x-twain",
		"ja-JP-u-ca-japanese-hc-h12": "ja-JP-u-ca-japanese-hc-h12", "mul": "mul", "x-klingon": "x-klingon", "en-us-posix": "en-US-u-va-posix",
	} {
		tag, detail := readLocale(given)
		if tag != kept || detail != "" {
			t.Errorf("%q is kept as %q, want %q: %s", given, tag, kept, detail)
		}
		if again, detail := readLocale(tag); again != tag || detail != "" {
			t.Errorf("%q sent as it was answered becomes %q: %s", tag, again, detail)
		}
	}
	for _, s := range []string{
		"xx", "zzz", "de_CH", "root", "C", "POSIX", "de-", "-de", "de--CH", " de", "de ", "de-CH.UTF-8", "deutsch", "d", "é", "de-\x00", "en-u", "de,en", "*", "de;q=0.5", "en-t-jp",
	} {
		if tag, detail := readLocale(s); detail != quote(s)+" is not a language tag (BCP 47) that is known; write it like de-CH" {
			t.Errorf("%q is kept as %q: %s", s, tag, detail)
		}
	}
	long := "de-x-" + strings.Repeat("abcdefg-", 3) + "abcdefg"
	if _, detail := readLocale(long[:35]); detail != "" {
		t.Errorf("35 bytes: %s", detail)
	}
	if _, detail := readLocale(long); detail != "has 36 bytes; a language tag has at most 35 here" {
		t.Errorf("36 bytes: %s", detail)
	}
}

func TestNumbers(t *testing.T) {
	for given, kept := range map[string]string{
		"": "", "+41443643232": "+41443643232", "+41 44 364 32 32": "+41443643232", "+1 (415) 555-2671": "+14155552671", "+1.415.555.2671": "+14155552671",
		"+39 (06) 1234": "+39061234", "+12": "+12", "+123456789012345": "+123456789012345", "+1\u00a0415\u2011555\u20102671": "+14155552671", "+1 - (((4 . )))15": "+1415",
	} {
		if got, detail := readPhone(given); got != kept || detail != "" {
			t.Errorf("%q is kept as %q, want %q: %s", given, got, kept, detail)
		}
	}
	for given, want := range map[string]string{
		"0443643232": "is not a number with", "41443643232": "is not a number with", "0041443643232": "is not a number with", "+": "is not a number with",
		"++41": "is not a number with", "+41-": "is not a number with", "+41 ": "is not a number with", " +41": "is not a number with", "+ 41": "is not a number with",
		"+(41)44": "is not a number with", "(+41)44": "is not a number with", "+41/44": "is not a number with", "+41 44 x12": "is not a number with", "tel:+4144": "is not a number with",
		"+41\t44": "is not a number with", "+41\n44": "is not a number with", "+٤١٤٤": "is not a number with", "+１２": "is not a number with", " ": "is not a number with", "+1+2": "is not a number with",
		"+0443643232": "has a zero behind the plus", "+41 (0)44 364 32 32": "has a zero in brackets", "+41 ( 0 ) 44 364 32 32": "has a zero in brackets", "+41(0\u00a0)443643232": "has a zero in brackets", "+4": "has 1 digits; a number has 2 to 15", "+1234567890123456": "has 16 digits; a number has 2 to 15",
	} {
		if got, detail := readPhone(given); !strings.Contains(detail, want) {
			t.Errorf("%q is kept as %q: %q, want %q", given, got, detail, want)
		}
	}
}

// FuzzFields checks that what is stored of a field keeps to what events promise, and comes to the same when it is sent
// as it was answered.
func FuzzFields(f *testing.F) {
	for _, s := range []string{
		"", "de-ch", "de_CH", "i-enochian", "cel-gaulish", "en-us-posix", "zh-min-nan", "de-a-foo-u-co-phonebk-x-y", "en-t-de-m0-abc", "root",
		"+41 (44) 364-32.32", "+41 (0)44", "+0", "+1", "+1\u00a02", "+1\u20112", "+1(2)", "+(1)2", " +12", "+12 ", "+\u0661\u0662", "+1\x002", "+\xff1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, r := range map[string]rule{"locale": readLocale, "phone": readPhone, "displayName": trimmed(checkLine), "name": trimmed(checkName)} {
			stored, detail := r(s)
			if detail != "" {
				continue
			}
			if again, detail := r(stored); again != stored || detail != "" {
				t.Errorf("%s %q is stored as %q, which becomes %q: %s", name, s, stored, again, detail)
			}
			if name == "phone" && stored != "" && !e164.MatchString(stored) || name == "locale" && len(stored) > maxLocale {
				t.Errorf("%s %q is stored as %q", name, s, stored)
			}
		}
	})
}
