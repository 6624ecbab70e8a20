package service

import (
	"bytes"
	"math/rand/v2"
	"net/mail"
	"strings"
	"testing"
)

// composed is the header of a mail to somebody.
func composed(t *testing.T, to, name string) mail.Header {
	t.Helper()
	text, err := compose(Mail{ID: "x", From: "Tidings <welcome@tidings.example>", To: to, Name: name, Subject: "Welcome", Text: "Dear " + name})
	if err != nil {
		t.Fatalf("%q <%s>: %v", name, to, err)
	}
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%q <%s>: %v\n%s", name, to, err, text)
	}
	return m.Header
}

// Nobody goes without a mail for what they are called.
func TestAMailCanBeMadeForAnyName(t *testing.T) {
	names := []string{`Łukasz \ Nowak`, `é\`, `\é"`, `a"b`, `a\`, "a, b <x@y.example>", strings.Repeat("界", 200), "=?utf-8?q?x?=", " é ", "a\u0085b", "\u202e", "a\r\nBcc: eve@x.example", "a\r\n\r\nb\x00"}
	letters := []rune("ab \"\\<>(),;:@=?._é界\u200b\u00a0😀")
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		name := make([]rune, 1+random.IntN(60))
		for i := range name {
			name[i] = letters[random.IntN(len(letters))]
		}
		names = append(names, string(name))
	}
	for _, name := range names {
		header := composed(t, "ada@example.com", name)
		if header["Bcc"] != nil {
			t.Errorf("%q became a header: %v", name, header)
		}
		list, err := header.AddressList("To")
		if err != nil || len(list) != 1 || list[0].Address != "ada@example.com" {
			t.Errorf("%q: To: %v, %v", name, list, err)
			continue
		}
		if got := list[0].Name; got != name && !(got == "" && strings.Contains(name, `\`)) {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func TestTheHeaderHasDomainsAsEveryServerTakesThem(t *testing.T) {
	for to, want := range map[string]string{
		"ada@bücher.example": "ada@xn--bcher-kva.example", "jürgen@bücher.example": "jürgen@xn--bcher-kva.example", "Ada@Example.com": "Ada@Example.com",
	} {
		if list, err := composed(t, to, "Ada").AddressList("To"); err != nil || len(list) != 1 || list[0].Address != want {
			t.Errorf("%s: To: %v, %v; want %s", to, list, err, want)
		}
	}
}
