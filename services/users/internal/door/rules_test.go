package door

import (
	"net/http"
	"strings"
	"testing"
)

// TestAddresses: whatever is taken comes back as it was written.
func TestAddresses(t *testing.T) {
	c := open(t)
	for _, email := range []string{
		"ada@example.org", "a@b", "ada+tag@example.org", "ada.lovelace@mail.example.org", "o'hara@example.org",
		"!#$%&'*+/=?^_`{|}~-@example.org", "GRACE@EXAMPLE.ORG", "1@2.3", "root@localhost",
		"ада@пример.рф", "用户@例え.jp", "josé@example.org", "μάρκος@παράδειγμα.ελ", "अजय@डाटा.भारत",
		"کاربر\u200cها@example.ir", "😀@example.org", "x@xn--bcher-kva.example",
		strings.Repeat("a", 242) + "@example.org",
	} {
		if got := c.create(email, "A").wants(http.StatusCreated).user().GetEmail(); got != email {
			t.Errorf("%q is kept as %q", email, got)
		}
	}
	for _, email := range []string{
		"x", "@", "a@", "@b", "a@b@c", "a b@c", " a@b.c", "a@b.c ", "a@b.c\t", "a@b.c,d@e.f", "a@b.c;", "a@b..c", ".a@b.c", "a.@b.c", "a@.b", "a@b.",
		"<a@b.c>", "Ada <a@b.c>", "Ada Lovelace <ada@example.org>", "a@b.c (Ada)", "(Ada) a@b.c", `"a b"@c.d`, `"a"@c.d`, "team: a@b.c;",
		"a@[127.0.0.1]", "a@[IPv6:::1]", "a@b_c.d", "a@b!c", "a@b/c", "a@b:25", "mailto:a@b.c",
		"a\r\nBcc:x@y.z@b.c", "a@b.c\r\nBcc: x@y.z", "a\x00@b.c", "a@b\x7f.c", "=?utf-8?q?a?=@b.c@d",
		"a\u00a0b@c.d", "a\u2028@b.c", "a\u200b@b.c", "a\u202e@b.c", "a@b\ufeff.c", "a\u0085@b.c", "a@例え\u3000.jp",
	} {
		want := quote(email) + " is not an address"
		if got := c.create(email, "A").wants(http.StatusBadRequest).faults()["email"]; got != want {
			t.Errorf("%q is answered %q, want %q", email, got, want)
		}
	}
	long := strings.Repeat("a", 243) + "@example.org"
	if got := c.create(long, "A").wants(http.StatusBadRequest).faults()["email"]; got != "has 255 bytes; an address has at most 254" {
		t.Errorf("an address of 255 bytes is answered %q", got)
	}
}

func TestNames(t *testing.T) {
	c := open(t)
	path := c.created("ada@example.org", "Start")
	for given, kept := range map[string]string{
		"A": "A", " \tAda \u00a0\u3000": "Ada", "\n\nAda\n": "Ada", "Ada  King": "Ada  King", "Ada\u00a0King": "Ada\u00a0King",
		"Björk Guðmundsdóttir": "Björk Guðmundsdóttir", "毛泽东": "毛泽东", "نوشین": "نوشین", "علی\u200cرضا": "علی\u200cرضا", "👩\u200d🚀": "👩\u200d🚀",
		"X Æ A-12": "X Æ A-12", "Robert'); DROP TABLE users;--": "Robert'); DROP TABLE users;--", "<script>": "<script>", "null": "null", "\ufffd": "\ufffd",
		strings.Repeat("ä", 200): strings.Repeat("ä", 200), strings.Repeat(" ", 300) + strings.Repeat("😀", 200): strings.Repeat("😀", 200),
	} {
		a := c.do("PATCH", path, `{"name":`+jsonString(given)+`}`).wants(http.StatusOK)
		if got := a.user().GetName(); got != kept {
			t.Errorf("%q is kept as %q, want %q", given, got, kept)
		}
	}
	for name, want := range map[string]string{
		"": "is required", " \t\n": "is required", "\u2003\u3000": "is required",
		strings.Repeat("ä", 201): "has 201 characters; a name has at most 200",
		"Ada\nKing":              "has a line break", "Ada\rKing": "has a line break", "Ada\tKing": "control character", "Ada\u0000": "control character",
		"\u0007": "control character", "Ada\u0085King": "has a line break", "Ada\u2028King": "has a line break", "Ada\u2029King": "has a line break",
		"Ada\x7f": "control character", "\u200b": "nothing in it that can be seen", "\u200d\u202e": "nothing in it that can be seen",
	} {
		if got := c.do("PATCH", path, `{"name":`+jsonString(name)+`}`).wants(http.StatusBadRequest).faults()["name"]; !strings.Contains(got, want) {
			t.Errorf("%q is answered %q, want %q", name, got, want)
		}
	}
}
