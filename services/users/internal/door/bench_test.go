package door

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// nowhere stores nothing.
type nowhere struct{ Users }

func (nowhere) Create(_ context.Context, p store.Profile) (store.User, error) {
	id, err := uuid.NewV7()
	now := time.Now().UTC()
	return store.User{ID: id.String(), Profile: p, Version: 1, CreateTime: now, UpdateTime: now}, err
}

// BenchmarkPost measures POST /v1/users by 64 callers over loopback, each on a connection of its own: how many a
// second are stored, and how many of those that the same door answers when it stores nothing.
func BenchmarkPost(b *testing.B) {
	const callers = 64
	rate := func(users Users) float64 {
		c := serve(b, users, nil)
		began := time.Now()
		c.postAll(b.N, callers)
		return float64(b.N) / time.Since(began).Seconds()
	}
	st := openStore(b)
	empty := rate(nowhere{})
	b.ResetTimer()
	stored := rate(st)
	b.StopTimer()
	b.ReportMetric(stored, "posts/s")
	b.ReportMetric(empty, "unstored/s")
	b.ReportMetric(stored/empty, "ratio")
}

// postAll sends n requests over as many connections as there are callers, and waits for all answers.
func (c *client) postAll(n, callers int) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if err := c.postUntil(&next, int64(n)); err != nil {
				c.t.Error(err)
			}
		})
	}
	all.Wait()
}

// postUntil writes requests by hand: http.Client would take more of the machine than the door.
func (c *client) postUntil(next *atomic.Int64, n int64) error {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	var request []byte
	for i := next.Add(1); i <= n; i = next.Add(1) {
		body := fmt.Sprintf(`{"email":"user%d@example.org","name":"Somebody of the name of %d"}`, i, i)
		request = fmt.Appendf(request[:0], "POST /v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("request %d is answered %s: %w", i, resp.Status, err)
		}
	}
	return nil
}
