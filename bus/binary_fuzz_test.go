package bus_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/bus"
)

// FuzzParseAttributes holds the reader of binary mode to this, whatever it is given: it doesn't panic and doesn't
// change its input; what it took could be published, but for a key; and it is the same event after it was written and
// read again in either mode. The input is a list of names and values with newlines between, and the data.
func FuzzParseAttributes(f *testing.F) {
	for _, e := range samples() {
		if len(e.Data) < 1000 {
			all, _ := e.AppendAttributes(nil, nil)
			f.Add(listed(all), e.Data, len(e.Data) == 0)
		}
	}
	f.Add([]byte("specversion\n1.0\nid\ni\nsource\n/s\ntype\nt"), []byte("d"), false)
	f.Add([]byte("specversion\n1.0\nid\ni\nsource\n/s\ntype\nt\nversion\n007\ntime\n2026-01-02t03:04:05.5+01:00"), []byte(nil), false)
	f.Add([]byte("specversion\n1\nid\ni\nid\ni\nsource\n/s\ntype\nt\ndataschema\nhttps://type.googleapis.com/t"), []byte(nil), true)
	f.Add([]byte("id\ni\nid\nj\ndata\n\xff"), []byte(nil), true)
	f.Fuzz(func(t *testing.T, list, data []byte, null bool) {
		if null {
			data = nil
		}
		all := unlisted(list)
		before := bytes.Clone(list)
		e, err := bus.ParseAttributes(all, data)
		if !bytes.Equal(list, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, bus.ErrNotEvent) {
				t.Fatalf("error %v isn't ErrNotEvent", err)
			}
			return
		}
		checkPublishable(t, e)
		checkStable(t, e)
		again, err := bus.ParseAttributes(attributesOf(e))
		if err != nil {
			t.Fatalf("it can't be read again: %v\n%+v", err, e)
		}
		if diff := cmp.Diff(e, again, equateEmpty); diff != "" {
			t.Fatalf("read (-), and read again (+):\n%s", diff)
		}
	})
}

// checkPublishable has e checked as Publish does. A publisher of others need not say what an event is about, and what
// other programs call version and sequence need not be a number.
func checkPublishable(t *testing.T, e bus.Event) {
	if e.Key == "" {
		e.Key = "k"
	}
	ext := map[string]string{}
	for name, value := range e.Ext {
		if name != "version" && name != "sequence" {
			ext[name] = value
		}
	}
	e.Ext = ext
	if err := e.Validate(); err != nil && !errors.Is(err, bus.ErrTooLarge) {
		t.Fatalf("it was read and can't be published: %v", err)
	}
}

func listed(all []bus.Attribute) []byte {
	var list [][]byte
	for _, a := range all {
		list = append(list, []byte(a.Name), a.Value)
	}
	return bytes.Join(list, []byte("\n"))
}

func unlisted(list []byte) []bus.Attribute {
	var all []bus.Attribute
	for parts := bytes.Split(list, []byte("\n")); len(parts) > 1; parts = parts[2:] {
		all = append(all, bus.Attribute{Name: string(parts[0]), Value: parts[1]})
	}
	return all
}
