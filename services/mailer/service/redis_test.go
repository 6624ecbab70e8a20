package service_test

import (
	"testing"

	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// A reaction has nothing by which it could make good for what it never heard: it can only count.
func TestOnRedisWhoWasCreatedUnheardIsNotWelcomed(t *testing.T) {
	cfg := newConfig(t)
	b := servicetest.OnRedis(t, &cfg.Common)
	owner := servicetest.NewNumbered(t, b, cfg.Topic)
	r := startOn(t, backends.Open, cfg)
	owner.Heard(r.Running)
	first := created(t, "ada@example.com", "Ada")
	owner.Send(first)
	owner.Heard(r.Running)
	r.Stop()

	unheard := servicetest.NewUser("alan@example.com", "Alan")
	owner.Lose(unheard.Created(t))
	r = startOn(t, backends.Open, cfg)
	owner.Heard(r.Running)
	last := created(t, "grace@example.com", "Grace")
	owner.Send(last, unheard.Updated(t, "alan@example.com", "Alan Turing"))
	servicetest.PublishTo(t, b, cfg.Topic, first, last) // again
	if s := owner.Heard(r.Running); s.Missed != 1 || s.Count != 2 || s.Missing != 1 {
		t.Errorf("status %+v; want one missed, and two messages", s)
	}
	for _, m := range r.list(&mailerv1.ListMessagesRequest{}) {
		if m.GetTo() == "alan@example.com" || m.GetState() != mailerv1.Message_STATE_SENT || m.GetAttempts() != 1 {
			t.Errorf("message %v", m)
		}
	}
	if box := r.mailbox(); len(box) != 2 || box[first.ID+".eml"] == nil || box[last.ID+".eml"] == nil {
		t.Errorf("mailbox %v, want those of Ada and Grace", box)
	}
}
