package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// read takes what the server sends until ctx ends. It is a row of sessions, one a link. The end of a session that
// stood is a loss, whatever ended it: nobody can say what was published until the next one stands.
func (s *subscription) read(ctx context.Context) {
	defer s.teller.ready(false)
	outage := newOutage(s.log, "the subscription")
	for ctx.Err() == nil {
		stood, err := s.session(ctx, outage)
		if ctx.Err() != nil {
			return
		}
		if stood {
			s.teller.ready(false)
			s.teller.lost(fmt.Sprintf("the connection to %s was lost (%v); what is published until it is back is not received", s.set.addr, err))
		}
		outage.wait(ctx, s.set.away(err, s.sub.Topics...))
	}
}

// session reads one link until it ends. stood says whether anything can have been lost with it.
func (s *subscription) session(ctx context.Context, outage *outage) (stood bool, err error) {
	l, err := connect(ctx, s.set)
	if err != nil {
		return false, err
	}
	defer l.close()
	defer context.AfterFunc(ctx, l.cut)()
	var came []message // not passed on yet; whenever the reader has to wait, it is
	pass := func() {
		s.queue.push(came)
		clear(came)
		came = came[:0]
	}
	defer pass()
	l.conn.drained = pass
	// Not Subscribe of the client, which keeps its error to itself.
	ps := l.client.Subscribe(ctx)
	if err := ps.Subscribe(ctx, s.sub.Topics...); err != nil {
		return false, err
	}
	var pinger sync.WaitGroup
	pinging, stopPinging := context.WithCancel(ctx)
	var silence error // why the pinger has cut the link
	pinger.Go(func() { silence = s.ping(pinging, l, ps) })
	stood, err = s.receive(ctx, ps, &came, outage)
	l.cut() // before the pinger is waited for, which may be writing
	stopPinging()
	pinger.Wait()
	if silence != nil {
		err = silence // else it is only said that the link was closed
	}
	return stood, err
}

// receive passes on what comes. The subscription stands once the server has confirmed every channel.
func (s *subscription) receive(ctx context.Context, ps *goredis.PubSub, came *[]message, outage *outage) (stood bool, err error) {
	confirmed := make(map[string]bool)
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			return stood, err
		}
		switch got := got.(type) {
		case *goredis.Message:
			*came = append(*came, message{topic: got.Channel, payload: got.Payload})
		case *goredis.Subscription:
			stood = true
			if confirmed[got.Channel] = true; len(confirmed) == len(s.sub.Topics) {
				outage.over()
				s.teller.ready(true)
			}
		}
	}
}

// errSilent ends a link that may be half open: the other side is gone, and its end didn't reach us.
var errSilent = errors.New("it was silent, and didn't answer")

// ping asks a link that has been silent whether it is alive, and cuts it when there is no answer.
func (s *subscription) ping(ctx context.Context, l *link, ps *goredis.PubSub) error {
	ticks := time.NewTicker(s.set.pingInterval)
	defer ticks.Stop()
	var asked time.Time // zero while there is no answer to wait for
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		switch {
		case !asked.IsZero() && !l.conn.since(asked):
			l.cut()
			return errSilent
		case l.conn.since(last):
			asked = time.Time{}
			continue
		}
		asked = time.Now()
		if err := ps.Ping(ctx); err != nil {
			l.cut()
			return err
		}
	}
}
