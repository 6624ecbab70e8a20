package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

func fileName(id string) string { return plainID(id) + ".eml" }

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
