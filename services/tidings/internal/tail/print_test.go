package tail

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// event makes an event that is the same in each run.
func event(t testing.TB, key string, v uint64, m proto.Message) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", key, v, m)
	if err != nil {
		t.Fatal(err)
	}
	e.ID, e.Time = "id-1", time.Date(2026, 11, 23, 8, 0, 0, 5e8, time.UTC)
	e.At = bus.Position{Topic: "t", Log: "l", Partition: 3, Offset: 812}
	return e
}

// withData is e with other bytes.
func withData(e bus.Event, data []byte) bus.Event { e.Data = data; return e }

// withType is e of another type.
func withType(e bus.Event, name string) bus.Event { e.Type = name; return e }

func created(t testing.TB) bus.Event {
	return event(t, "k", 1, &eventsv1.UserCreated{User: &eventsv1.User{Id: "k", Name: "Ada"}})
}

func TestALineSaysWhatAnEventIs(t *testing.T) {
	order := &eventsv2.UserUpdated{User: &eventsv2.User{Name: &eventsv2.PersonName{Given: "Ilona", Order: 77}}}
	future := created(t)
	inner, _ := proto.Marshal(&eventsv1.User{Id: "k"})
	inner = protowire.AppendString(protowire.AppendTag(inner, 99, protowire.BytesType), "later")
	future.Data = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
	text := withData(created(t), []byte("hi\x1b[31m"))
	text.DataType = "text/plain; charset=utf-8"
	picture := withData(created(t), []byte{0xff, 0xd8})
	picture.DataType = "image/jpeg"
	for name, tt := range map[string]struct {
		e    bus.Event
		want string
	}{
		"v1":            {created(t), `2026-11-23T08:00:00.5Z users.events.v1.UserCreated k 1 /users {"user":{"id":"k","name":"Ada"}}`},
		"v2, odd enum":  {event(t, "k", 2, order), `2026-11-23T08:00:00.5Z users.events.v2.UserUpdated k 2 /users {"user":{"name":{"given":"Ilona","order":77}}}`},
		"later fields":  {future, `2026-11-23T08:00:00.5Z users.events.v1.UserCreated k 1 /users {"user":{"id":"k"}} and 8 bytes of fields that this program does not know`},
		"unknown type":  {withType(withData(created(t), []byte{1, 0xab}), "a.B"), `2026-11-23T08:00:00.5Z a.B k 1 /users a type that this program does not know: 2 bytes, 01ab`},
		"long":          {withType(withData(created(t), make([]byte, 33)), "a.B"), `2026-11-23T08:00:00.5Z a.B k 1 /users a type that this program does not know: 33 bytes, ` + strings.Repeat("00", 32) + "…"},
		"no data":       {withType(withData(created(t), nil), "a.B"), `2026-11-23T08:00:00.5Z a.B k 1 /users no data`},
		"text":          {text, `2026-11-23T08:00:00.5Z users.events.v1.UserCreated k 1 /users "hi\u001b[31m"`},
		"picture":       {picture, `2026-11-23T08:00:00.5Z users.events.v1.UserCreated k 1 /users image/jpeg: 2 bytes, ffd8`},
		"bare":          {bus.Event{ID: "i", Source: "s", Type: "a.B"}, `- a.B - - s no data`},
		"no event":      {bus.Event{Key: "k\x1b]0;x\a", Data: []byte("x"), Err: errors.New("it\nis none")}, `- - "k\x1b]0;x\a" - - no event (it\nis none): 1 byte, 78`},
		"a broken key":  {bus.Event{Key: "\xff\xfe", Err: errors.New("none")}, `- - "\xff\xfe" - - no event (none): no bytes`},
		"an empty user": {event(t, "-", 1, &eventsv1.UserCreated{}), `2026-11-23T08:00:00.5Z users.events.v1.UserCreated "-" 1 /users {}`},
	} {
		if got := string(line(&tt.e)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
	broken := withData(created(t), []byte{0xff})
	if got := string(line(&broken)); !strings.Contains(got, " no users.events.v1.UserCreated (proto:") || !strings.HasSuffix(got, "): 1 byte, ff") {
		t.Errorf("broken data is shown as %s", got)
	}
}

func TestAnObjectIsACloudEventInJSON(t *testing.T) {
	full := created(t)
	full.Seq, full.SeqLog = 18446744073709551615, "first.x"
	full.Ext = map[string]string{"alternatives": "users.events.v2.UserCreated,users.events.v1.UserCreated", "traceparent": "00-a"}
	unknown := withType(withData(created(t), []byte{1, 0xab}), "a.B")
	document := withData(created(t), []byte(`{"a": [1, "\u2028`+"\u202e"+`"]}`))
	document.DataType = "application/vnd.x+json"
	heard := created(t)
	heard.At = bus.Position{Topic: "t", Offset: -1}
	liar := created(t)
	liar.Ext = map[string]string{"logoffset": "1", "dataerror": "none", "x": "y"}
	const head = `{"specversion":"1.0","id":"id-1","source":"/users","type":"users.events.v1.UserCreated","subject":"k","time":"2026-11-23T08:00:00.5Z","datacontenttype":"application/json","version":"1",`
	plain := strings.Replace(head, "application/json", "application/protobuf", 1)
	const place, data = `"logtopic":"t","logpartition":3,"logoffset":"812",`, `"data":{"user":{"id":"k","name":"Ada"}}}`
	for name, tt := range map[string]struct {
		e    bus.Event
		want string
	}{
		"full": {full, head + `"sequence":"18446744073709551615","sequencelog":"first.x",` +
			`"alternatives":"users.events.v2.UserCreated,users.events.v1.UserCreated","traceparent":"00-a",` + place + data},
		"unknown type": {unknown, strings.Replace(plain, "users.events.v1.UserCreated", "a.B", 1) + place + `"data_base64":"Aas="}`},
		"no data":      {withData(unknown, nil), strings.Replace(plain, "users.events.v1.UserCreated", "a.B", 1) + strings.TrimSuffix(place, ",") + "}"},
		"json":         {document, strings.Replace(head, "application/json", "application/vnd.x+json", 1) + place + `"data":{"a":[1,"\u2028\u202e"]}}`},
		"without log":  {heard, head + `"logtopic":"t",` + data},
		"a liar":       {liar, head + `"x":"y",` + place + data},
	} {
		got := object(&tt.e)
		if string(got) != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
		if name == "json" {
			continue // of JSON's media types the SDK knows one
		}
		var read ce.Event
		if err := json.Unmarshal(got, &read); err != nil || read.Validate() != nil || read.Type() != tt.e.Type || read.Extensions()["version"] != "1" {
			t.Errorf("%s: the SDK of CloudEvents reads %v, %v (%v)", name, read, err, read.Validate())
		}
	}
}

func TestWhatIsNoEventIsAnObjectToo(t *testing.T) {
	at := bus.Position{Topic: "t", Partition: 1, Offset: 2}
	for want, e := range map[string]bus.Event{
		`{"error":"none","key":"k","logtopic":"t","logpartition":1,"logoffset":"2","data_base64":"eA=="}`:           {Key: "k", Data: []byte("x"), At: at, Err: errors.New("none")},
		`{"error":"none","key_base64":"/w==","logtopic":"t","logpartition":1,"logoffset":"2","data_base64":""}`:     {Key: "\xff", At: at, Err: errors.New("none")},
		`{"error":"\u001b[2J","key":"\u009b","logtopic":"t","logpartition":1,"logoffset":"2","data_base64":""}`:     {Key: "\u009b", At: at, Err: errors.New("\x1b[2J")},
		`{"error":"a\u200fb","key":"<&>","logtopic":"t","logpartition":1,"logoffset":"2","data_base64":"AAECAw=="}`: {Key: "<&>", At: at, Data: []byte{0, 1, 2, 3}, Err: errors.New("a\u200fb")},
	} {
		if got := string(object(&e)); got != want || !json.Valid([]byte(got)) {
			t.Errorf(" got %s\nwant %s", got, want)
		}
	}
	broken := withData(created(t), []byte{0xff})
	if got := string(object(&broken)); !strings.Contains(got, `"dataerror":"proto:`) || !strings.HasSuffix(got, `,"data_base64":"/w=="}`) {
		t.Errorf("broken data is %s", got)
	}
}

// Every control character there is, in every place where an outsider can put one.
func TestNoControlCharacterReachesTheTerminal(t *testing.T) {
	var nasty strings.Builder
	for r := rune(0); r < 0x100; r++ {
		nasty.WriteRune(r)
	}
	nasty.WriteString("\u2028\u2029\u202e\u2066\ufeff\U000e0001")
	raw := nasty.String() + "\x80\xff"
	user := &eventsv1.UserCreated{User: &eventsv1.User{Name: nasty.String()}}
	e := event(t, "k", 1, user)
	e.Key, e.Source, e.ID, e.Ext = raw, raw, raw, map[string]string{raw: raw}
	unknown := withType(e, raw)
	text, other := withData(e, []byte(raw)), withData(e, []byte(raw))
	text.DataType, other.DataType = "text/plain", raw
	document := withData(e, []byte(`"`+strings.Map(func(r rune) rune {
		if r < 0x20 || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, nasty.String())+`"`))
	document.DataType = "application/json"
	for i, e := range []bus.Event{e, unknown, text, other, document, {Key: raw, Data: []byte(raw), Err: errors.New(raw)}} {
		for _, shown := range [][]byte{line(&e), object(&e)} {
			if i := strings.IndexFunc(string(shown), hidden); i >= 0 {
				t.Errorf("event %d: %q stands there raw, in %q", i, shown[i:min(i+4, len(shown))], shown)
			}
		}
		if got := object(&e); !json.Valid(got) {
			t.Errorf("event %d is no JSON: %s", i, got)
		}
	}
}

func TestWordsStayApart(t *testing.T) {
	for s, want := range map[string]string{
		"": "-", "-": `"-"`, "a b": `"a b"`, `a"b`: `"a\"b"`, "grün": "grün", "a\tb": `"a\tb"`, "\u00a0": `"\u00a0"`, "/users": "/users",
	} {
		if got := word(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
}

func TestOnlyWhatWasAskedForIsPrinted(t *testing.T) {
	v1 := created(t)
	v2 := withType(created(t), "users.events.v2.UserCreated")
	deleted := event(t, "other", 2, &eventsv1.UserDeleted{})
	foreign := bus.Event{Key: "k", Err: errors.New("none")}
	all := []bus.Event{v1, v2, deleted, foreign}
	for _, tt := range []struct {
		key   string
		types []string
		count int
		want  int
	}{
		{"", nil, 0, 4}, {"k", nil, 0, 3}, {"", []string{"UserCreated"}, 0, 2}, {"", []string{"users.events.v2.UserCreated"}, 0, 1},
		{"k", []string{"v2.UserCreated", "UserDeleted"}, 0, 1}, {"", []string{"Created"}, 0, 0}, {"", nil, 2, 2}, {"other", nil, 1, 1},
	} {
		var out bytes.Buffer
		p := &printer{Config: Config{Key: tt.key, Types: tt.types, Count: tt.count}, out: bufio.NewWriter(&out)}
		err := p.print(all)
		if got := strings.Count(out.String(), "\n"); got != tt.want || errors.Is(err, errEnough) != (tt.count > 0) {
			t.Errorf("%+v: %d lines, %v:\n%s", tt, got, err, &out)
		}
	}
}

func TestUnknownBytesAreCountedWhereverTheyAre(t *testing.T) {
	u := &eventsv1.User{}
	u.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 50, protowire.VarintType), 1))
	m := &eventsv1.UserUpdated{User: u}
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 50, protowire.VarintType), 1))
	if got := unknownBytes(m.ProtoReflect()); got != 6 {
		t.Errorf("got %d, want 6", got)
	}
}
