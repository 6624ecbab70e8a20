package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"

	"github.com/tidings-dev/tidings/bus"
)

// Mailbox is a [Sender] that writes each mail into a folder, as <id>.eml. It is safe for concurrent use.
type Mailbox struct{ dir string }

// NewMailbox makes the folder if it is missing.
func NewMailbox(dir string) (*Mailbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	return &Mailbox{dir: dir}, nil
}

// Send writes the mail. It is there, and stays there if the power fails, when Send returns nil; half a mail never is.
// One of the same ID is replaced. A mail whose addresses are none is refused for good.
func (b *Mailbox) Send(_ context.Context, m Mail) error {
	text, err := compose(m)
	if err != nil {
		return bus.Permanent(fmt.Errorf("mailbox: mail %s: %w", m.ID, err))
	}
	if err := b.write(fileName(m.ID), text); err != nil {
		return fmt.Errorf("mailbox: mail %s: %w", m.ID, err)
	}
	return nil
}

// compose makes the mail's text. Names and subjects are encoded, so that nothing in them is taken for a header.
func compose(m Mail) ([]byte, error) {
	msg := mail.NewMsg()
	if err := msg.From(m.From); err != nil {
		return nil, fmt.Errorf("from %.64q: %w", m.From, err)
	}
	to := netmail.Address{Name: m.Name, Address: m.To}
	if parsed, err := netmail.ParseAddress(m.To); err != nil || parsed.Address != m.To {
		return nil, fmt.Errorf("to %.64q: it is not an address", m.To)
	}
	if err := msg.To(to.String()); err != nil {
		return nil, fmt.Errorf("to %.64q: %w", m.To, err)
	}
	msg.Subject(m.Subject)
	msg.SetMessageIDWithValue(messageID(m))
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

// messageID is the same for the same mail, so that whoever gets it twice can tell.
func messageID(m Mail) string {
	domain := "localhost"
	if from, err := netmail.ParseAddress(m.From); err == nil {
		domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	return plainID(m.ID) + "@" + domain
}

func fileName(id string) string { return plainID(id) + ".eml" }

// plainID is the event's id where that is a UUID, as ours are. Somebody else's may be any text: a hash stands for it.
func plainID(id string) string {
	if u, err := uuid.Parse(id); err == nil && u.String() == id {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// write puts a file in place whole: written beside, brought to the disk, renamed, and the name brought to the disk.
func (b *Mailbox) write(name string, text []byte) (err error) {
	f, err := os.CreateTemp(b.dir, ".writing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what failed matters more
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(b.dir, name)); err != nil {
		return err
	}
	return syncDir(b.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
