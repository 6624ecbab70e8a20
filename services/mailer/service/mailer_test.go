package service_test

import (
	"cmp"
	"log/slog"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/mailer/service"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// running is the mailer over loopback.
type running struct {
	*servicetest.Running
	t   *testing.T
	api mailerv1.MailerServiceClient
	cfg service.Config
}

func newConfig(t *testing.T) service.Config {
	t.Helper()
	cfg := service.Config{
		Common:   servicetest.Common(t, "mailer"),
		MailFrom: "Tidings <welcome@tidings.example>", MailMaxAge: 24 * time.Hour,
	}
	if servicetest.Dialect() == database.Postgres {
		cfg.Mailbox = filepath.Join(t.TempDir(), "named")
	}
	return cfg
}

// folder is where the mails go: the default one, unless it is named.
func folder(cfg service.Config) string {
	return cmp.Or(cfg.Mailbox, filepath.Join(filepath.Dir(cfg.DB), "mailbox"))
}

func start(t *testing.T, rec *bustest.Recorder, cfg service.Config) *running {
	t.Helper()
	return startOn(t, servicetest.Over(rec), cfg)
}

func startOn(t *testing.T, open lifecycle.OpenBus, cfg service.Config) *running {
	t.Helper()
	r := servicetest.Start(t, open, func(env lifecycle.Env) *lifecycle.Runner { return service.New(cfg, env) })
	return &running{Running: r, t: t, api: mailerv1.NewMailerServiceClient(r.Conn), cfg: cfg}
}

// mailbox is the mails in the folder, by file name.
func (r *running) mailbox() map[string]*mail.Message {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(folder(r.cfg), "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	mails := map[string]*mail.Message{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		if mails[filepath.Base(file)], err = mail.ReadMessage(strings.NewReader(string(text))); err != nil {
			r.t.Fatalf("%s is no mail: %v\n%s", file, err, text)
		}
	}
	return mails
}

func (r *running) list(req *mailerv1.ListMessagesRequest) []*mailerv1.Message {
	r.t.Helper()
	var all []*mailerv1.Message
	for {
		resp, err := r.api.ListMessages(r.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, resp.GetMessages()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return all
		}
	}
}

// created is the event of somebody new.
func created(t *testing.T, email, name string) bus.Event {
	t.Helper()
	return servicetest.NewUser(email, name).Created(t)
}

func TestANewUserIsWelcomedOnce(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, rec, newConfig(t))
	u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
	e := u.Created(t)
	servicetest.Publish(t, rec, e, u.Updated(t, "other@example.com", "Ada"), u.Deleted(t))
	servicetest.Publish(t, rec, e) // again
	if s := r.CaughtUp(); s.Count != 1 || s.Keys != 1 || s.Versions != 3 || s.Dead != 0 {
		t.Errorf("status %+v; want one message, and version 3 of one key", s)
	}
	got := r.list(&mailerv1.ListMessagesRequest{})
	if len(got) != 1 || got[0].GetEventId() != e.ID || got[0].GetTo() != "ada@example.com" ||
		got[0].GetState() != mailerv1.Message_STATE_SENT || got[0].GetAttempts() != 1 || got[0].GetUserId() != e.Key {
		t.Fatalf("messages %v", got)
	}
	box := r.mailbox()
	m := box[e.ID+".eml"]
	if len(box) != 1 || m == nil {
		t.Fatalf("mailbox %v, want one mail, %s.eml", box, e.ID)
	}
	if to := m.Header.Get("To"); to != `"Ada Lovelace" <ada@example.com>` {
		t.Errorf("To: %s", to)
	}
	if id := m.Header.Get("Message-ID"); id != "<"+e.ID+"@tidings.example>" {
		t.Errorf("Message-ID: %s", id)
	}
	one, err := r.api.GetMessage(r.Context(), &mailerv1.GetMessageRequest{EventId: e.ID})
	if err != nil || !proto.Equal(one.GetMessage(), got[0]) {
		t.Errorf("GetMessage: %v, %v; want %v", one, err, got[0])
	}
}

func TestWhatWasSentStaysSentOverARestart(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	r := start(t, rec, cfg)
	e := created(t, "ada@example.com", "Ada")
	servicetest.Publish(t, rec, e)
	r.CaughtUp()
	if err := os.Remove(filepath.Join(folder(cfg), e.ID+".eml")); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	r = start(t, rec, cfg)
	servicetest.Publish(t, rec, e, created(t, "bob@example.com", "Bob"))
	if s := r.CaughtUp(); s.Count != 2 {
		t.Errorf("status %+v, want two messages", s)
	}
	if box := r.mailbox(); len(box) != 1 || box[e.ID+".eml"] != nil {
		t.Errorf("mailbox %v; the first mail must not be sent again", box)
	}
}

func TestOldEventsMailNobody(t *testing.T) {
	rec := bustest.NewRecorder()
	old, young := created(t, "old@example.com", "Old"), created(t, "young@example.com", "Young")
	old.Time = time.Now().Add(-25 * time.Hour)
	young.Time = time.Now().Add(-23 * time.Hour)
	servicetest.Publish(t, rec, old, young)
	r := start(t, rec, newConfig(t))
	r.CaughtUp()
	skipped := r.list(&mailerv1.ListMessagesRequest{State: mailerv1.Message_STATE_SKIPPED})
	if len(skipped) != 1 || skipped[0].GetEventId() != old.ID || skipped[0].GetAttempts() != 0 {
		t.Errorf("skipped %v, want the old one", skipped)
	}
	if box := r.mailbox(); len(box) != 1 || box[young.ID+".eml"] == nil {
		t.Errorf("mailbox %v, want the young one's", box)
	}
}

func TestHostileNamesAndAddressesInjectNothing(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, rec, newConfig(t))
	hostile := created(t, "eve@example.com", "Eve\r\nBcc: victim@example.com\r\n\r\nHello \"quoted\" <x@y>")
	foreign := created(t, "mallory@example.com", "Mallory")
	foreign.ID = "../../escape"
	noAddress := created(t, "Bob <bob@example.com>, victim@example.com", "Bob")
	injected := created(t, "a@example.com>\r\nBcc: <victim@example.com", "Ann")
	servicetest.Publish(t, rec, hostile, foreign, noAddress, injected)
	if s := r.CaughtUp(); s.Dead != 2 {
		t.Errorf("status %+v, want two dead", s)
	}
	box := r.mailbox()
	m := box[hostile.ID+".eml"]
	if len(box) != 2 || m == nil {
		t.Fatalf("mailbox %v, want the two whose addresses are good", box)
	}
	for name, m := range box {
		if m.Header.Get("Bcc") != "" {
			t.Errorf("%s has a header that came with a name", name)
		}
	}
	to, err := m.Header.AddressList("To")
	if err != nil || len(to) != 1 || to[0].Address != "eve@example.com" {
		t.Errorf("To: %v, %v", to, err)
	}
	dead := r.list(&mailerv1.ListMessagesRequest{State: mailerv1.Message_STATE_DEAD})
	if len(dead) != 2 || !strings.Contains(dead[0].GetLastError(), "not an address") {
		t.Errorf("dead %v", dead)
	}
}

// A mailbox that can't be written is tried again, and the state shows it; once it can be, the mail is sent.
func TestAMailThatCantBeSentIsTriedAgain(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	r := start(t, rec, cfg)
	box := folder(cfg)
	if err := os.Remove(box); err != nil {
		t.Fatal(err)
	}
	e := created(t, "ada@example.com", "Ada")
	servicetest.Publish(t, rec, e)
	wait := func(what string, state mailerv1.Message_State) *mailerv1.Message {
		var m *mailerv1.Message
		r.Until(what, func(lifecycle.Status) bool {
			found := r.list(&mailerv1.ListMessagesRequest{State: state})
			if len(found) == 1 {
				m = found[0]
			}
			return m != nil
		})
		return m
	}
	m := wait("a mail that is tried again", mailerv1.Message_STATE_RETRYING)
	if m.GetLastError() == "" || m.GetNextAttemptTime() == nil || m.GetAttempts() < 1 {
		t.Errorf("message %v; want why, and when it is tried next", m)
	}
	if err := os.Mkdir(box, 0o700); err != nil {
		t.Fatal(err)
	}
	if m := wait("the mail sent", mailerv1.Message_STATE_SENT); m.GetAttempts() < 2 || m.GetNextAttemptTime() != nil {
		t.Errorf("message %v; want a second attempt that was the last", m)
	}
}

func TestListMessagesPagesFromTheLastQueuedAndFilters(t *testing.T) {
	rec := bustest.NewRecorder()
	r := start(t, rec, newConfig(t))
	var events []bus.Event
	for range 25 {
		events = append(events, created(t, "x@example.com", "X"))
	}
	servicetest.Publish(t, rec, events...)
	r.CaughtUp()
	all := r.list(&mailerv1.ListMessagesRequest{PageSize: 4})
	seen := map[string]bool{}
	for i, m := range all {
		if seen[m.GetEventId()] {
			t.Errorf("message %s comes twice", m.GetEventId())
		}
		seen[m.GetEventId()] = true
		if i > 0 && m.GetCreateTime().AsTime().After(all[i-1].GetCreateTime().AsTime()) {
			t.Errorf("message %d was queued after the one before it", i)
		}
	}
	if len(all) != 25 {
		t.Errorf("%d messages, want 25", len(all))
	}
	one := r.list(&mailerv1.ListMessagesRequest{UserId: strings.ToUpper(events[3].Key), State: mailerv1.Message_STATE_SENT})
	if len(one) != 1 || one[0].GetEventId() != events[3].ID {
		t.Errorf("by user: %v", one)
	}
	resp, err := r.api.ListMessages(r.Context(), &mailerv1.ListMessagesRequest{PageSize: 1})
	if err != nil || resp.GetTotalSize() != 25 {
		t.Errorf("total %d, %v; want 25", resp.GetTotalSize(), err)
	}
}

func TestRubbishRequestsAreToldWhatIsWrong(t *testing.T) {
	r := start(t, bustest.NewRecorder(), newConfig(t))
	for field, req := range map[string]*mailerv1.ListMessagesRequest{
		"user_id":    {UserId: "x"},
		"state":      {State: 99},
		"page_size":  {PageSize: -1},
		"page_token": {PageToken: "rubbish"},
	} {
		_, err := r.api.ListMessages(r.Context(), req)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want INVALID_ARGUMENT that names it", field, err)
		}
	}
	if _, err := r.api.GetMessage(r.Context(), &mailerv1.GetMessageRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("GetMessage without an id: %v", err)
	}
	if _, err := r.api.GetMessage(r.Context(), &mailerv1.GetMessageRequest{EventId: "no"}); status.Code(err) != codes.NotFound {
		t.Errorf("GetMessage of an unknown event: %v", err)
	}
}

func TestWithoutABusItServesReadsAndOnlyHealthBusTurns(t *testing.T) {
	rec := bustest.NewRecorder()
	rec.SetDown(true)
	r := start(t, rec, newConfig(t))
	if got := r.list(&mailerv1.ListMessagesRequest{}); len(got) != 0 {
		t.Errorf("messages %v", got)
	}
	if !r.Serving("") || r.Serving("bus") {
		t.Errorf("serving %v, bus %v; want true and false", r.Serving(""), r.Serving("bus"))
	}
	rec.SetDown(false)
	servicetest.Publish(t, rec, created(t, "ada@example.com", "Ada"))
	r.CaughtUp()
	if !r.Serving("bus") {
		t.Error("health bus is NOT_SERVING")
	}
}

func TestConfigNamesEveryFlagAtFault(t *testing.T) {
	err := (&service.Config{MailFrom: "nobody", MailMaxAge: -1}).Validate()
	if err == nil || !strings.Contains(err.Error(), "--mail-from") || !strings.Contains(err.Error(), "--mail-max-age") {
		t.Errorf("error %v, want both flags named", err)
	}
}

// A database on a server has no folder beside it, and nobody is to look for mails in the folder where a program happened
// to be started.
func TestOnPostgresWhereMailsGoHasToBeSaid(t *testing.T) {
	const from = "Tidings <welcome@tidings.example>"
	on := config.Common{DB: "postgres://me@127.0.0.1/tidings"}
	err := (&service.Config{Common: on, MailFrom: from}).Validate()
	if err == nil || !strings.Contains(err.Error(), "--mailbox DIR") || !strings.Contains(err.Error(), "--smtp URL") {
		t.Errorf("error %v, want both flags named", err)
	}
	for _, cfg := range []service.Config{
		{Common: on, MailFrom: from, Mailbox: "box"}, {Common: on, MailFrom: from, SMTP: "smtp://h"},
		{Common: config.Common{DB: "mailer.db"}, MailFrom: from},
	} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// Whoever starts a service without the check of the flags is refused as well.
func TestOnPostgresItDoesNotStartWithoutAFolder(t *testing.T) {
	servicetest.PostgresOnly(t, "beside a file there is a folder")
	cfg := newConfig(t)
	cfg.Mailbox = ""
	r := service.New(cfg, lifecycle.Env{Log: slog.New(slog.DiscardHandler), OpenBus: servicetest.Over(bustest.NewRecorder())})
	err := r.Run(t.Context(), func(lifecycle.Info) { t.Error("it serves") })
	if err == nil || !strings.Contains(err.Error(), "--mailbox DIR") {
		t.Errorf("error %v, want the flag named", err)
	}
}
