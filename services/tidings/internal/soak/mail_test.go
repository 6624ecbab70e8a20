package soak

import (
	"net/smtp"
	"testing"
)

func TestTheMailServerKeepsOrRefuses(t *testing.T) {
	m, err := startMailServer("mailer-1", "mailer-2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	const text = "Message-ID: <abc@example.com>\r\nSubject: Welcome\r\n\r\nHello.\r\n"
	send := func(by string) error {
		return smtp.SendMail(m.addrs[by], nil, "a@example.com", []string{"b@example.com"}, []byte(text))
	}
	if err := send("mailer-1"); err != nil {
		t.Fatal(err)
	}
	m.refuse(true)
	if err := send("mailer-1"); err == nil {
		t.Error("a mail was taken that was to be refused")
	}
	m.refuse(false)
	if err := send("mailer-2"); err != nil {
		t.Fatal(err)
	}
	mails, refused := m.taken()
	if len(mails) != 2 || refused != 1 || mails[0].ID != "abc@example.com" || mails[0].To != "b@example.com" || mails[0].Text != mails[1].Text ||
		mails[0].By != "mailer-1" || mails[1].By != "mailer-2" {
		t.Errorf("%d refused; taken: %+v", refused, mails)
	}
}
