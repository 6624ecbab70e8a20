package service

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	netmail "net/mail"
	"strings"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"

	"github.com/tidings-dev/tidings/services/mailer/internal/submission"
)

// compose makes the mail's text, headers and body, of ASCII but for an address that is beyond it before its "@". Names and subjects are
// encoded, so that nothing in them is taken for a header. Auto-Submitted (RFC 3834) keeps away the answers of machines.
func compose(m Mail) ([]byte, error) {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(m.From); err != nil {
		return nil, fmt.Errorf("from %.64q: %w", m.From, err)
	}
	to := netmail.Address{Name: m.Name, Address: submission.ASCIIDomain(m.To)}
	if parsed, err := netmail.ParseAddress(m.To); err != nil || parsed.Address != m.To {
		return nil, fmt.Errorf("to %.64q: it is not an address", m.To)
	}
	if _, err := netmail.ParseAddress(to.String()); err != nil {
		to.Name = "" // net/mail leaves a backslash as it is in a name that it encodes, which then is none
	}
	if err := msg.To(to.String()); err != nil {
		return nil, fmt.Errorf("to %.64q: %w", m.To, err)
	}
	msg.Subject(m.Subject)
	msg.SetMessageIDWithValue(messageID(m))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.SentTime.IsZero() {
		msg.SetDate()
	} else {
		msg.SetDateWithValue(m.SentTime)
	}
	msg.SetBodyString(mail.TypeTextPlain, m.Text)
	var text bytes.Buffer
	_, err := msg.WriteTo(&text)
	return text.Bytes(), err
}

// canSend reports whether mails can be from an address: it must be one, and so must what goes to the server, the bare
// address, and into the header. Of `"ada lovelace"@example.org` the bare one is none.
func canSend(address string) bool {
	from, err := netmail.ParseAddress(address)
	if err != nil {
		return false
	}
	bare, err := netmail.ParseAddress(from.Address)
	if err != nil || bare.Address != from.Address {
		return false
	}
	_, err = netmail.ParseAddress(from.String())
	return err == nil
}

// messageID is the same for the same mail, so that whoever gets it twice can tell.
func messageID(m Mail) string {
	domain := "localhost"
	if from, err := netmail.ParseAddress(m.From); err == nil {
		domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	return plainID(m.ID) + "@" + domain
}

// plainID is the mail's id where that is a UUID, as ours are. One of somebody else's event may be any text: a hash stands for it.
func plainID(id string) string {
	if u, err := uuid.Parse(id); err == nil && u.String() == id {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}
