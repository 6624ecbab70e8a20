package soak

import (
	"net/smtp"
	"testing"
)

func TestTheMailServerKeepsOrRefuses(t *testing.T) {
	m, err := startMailServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	const text = "Message-ID: <abc@example.com>\r\nSubject: Welcome\r\n\r\nHello.\r\n"
	send := func() error {
		return smtp.SendMail(m.addr, nil, "a@example.com", []string{"b@example.com"}, []byte(text))
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	m.refuse(true)
	if err := send(); err == nil {
		t.Error("a mail was taken that was to be refused")
	}
	m.refuse(false)
	if err := send(); err != nil {
		t.Fatal(err)
	}
	mails, refused := m.taken()
	if len(mails) != 2 || refused != 1 || mails[0].ID != "abc@example.com" || mails[0].To != "b@example.com" || mails[0].Text != mails[1].Text {
		t.Errorf("%d refused; taken: %+v", refused, mails)
	}
}
