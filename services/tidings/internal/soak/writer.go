package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// writeTime bounds a request: what has not been answered by then is unknown.
	writeTime = 4 * time.Second
	// restTime is how long a writer rests between two writes at most, so that others of the machine come to turn.
	restTime = 60 * time.Millisecond
)

// writer writes users through the door, one request after another, and writes down what came of each.
type writer struct {
	n      int
	doors  []string
	ledger *ledger
	rng    *rand.Rand
	client *http.Client
	emails int               // how many addresses all writers share
	seen   map[string]uint64 // versions that this writer has last seen, for If-Match
	count  int
}

// newWriter makes a writer with connections of its own, whose requests share no fate with those of others.
func newWriter(n int, seed uint64, doors []string, l *ledger, emails int) *writer {
	return &writer{
		n: n, doors: doors, ledger: l, emails: emails, seen: map[string]uint64{},
		rng:    rand.New(rand.NewPCG(seed, uint64(n))),
		client: &http.Client{Transport: &http.Transport{DisableCompression: true}},
	}
}

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	for ctx.Err() == nil {
		w.write(w.choose())
		rest(ctx, time.Duration(w.rng.Int64N(int64(restTime))))
	}
}

// rest waits for a while, or for the end.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// choose decides what to write next. The addresses are few, so that many are in use, freed, and taken again.
func (w *writer) choose() Write {
	w.count++
	write := Write{Verb: Create, Name: fmt.Sprintf("Soak %d.%d", w.n, w.count)}
	dice := w.rng.IntN(100)
	if dice >= 35 {
		write.User = w.ledger.someone(w.rng)
	}
	if write.User == "" {
		write.Email = w.email()
		return write
	}
	if w.rng.IntN(3) == 0 {
		write.IfMatch = w.seen[write.User]
	}
	switch {
	case dice < 60:
		write.Verb = Update
	case dice < 82:
		write.Verb, write.Email = Update, w.email()
	default:
		write.Verb, write.Name = Delete, ""
	}
	return write
}

// email is one of the addresses that all writers share.
func (w *writer) email() string { return fmt.Sprintf("soak-%d@example.com", w.rng.IntN(w.emails)) }

// write sends a request and adds what came of it to the ledger.
func (w *writer) write(write Write) {
	write.Begun = time.Now()
	resp, err := w.send(write)
	write.Ended = time.Now()
	switch {
	case err != nil && neverSent(err):
		write.Outcome = Refused
	case err != nil:
		write.Outcome = Unknown
	default:
		settle(&write, resp)
		if write.Version > 0 {
			w.seen[write.User] = write.Version
		}
	}
	w.ledger.add(write)
}

// neverSent reports whether there was not even a connection.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// answer is what the door has answered.
type answer struct {
	status   int
	version  uint64 // by its ETag
	location string // the id in it
	unknown  bool
}

// settle takes an answer for what the door says that it means.
func settle(w *Write, a answer) {
	w.Status = a.status
	switch {
	case a.status >= 200 && a.status < 300:
		w.Outcome, w.Version = Acknowledged, a.version
	case a.unknown, a.status == http.StatusInternalServerError:
		w.Outcome = Unknown
	default:
		w.Outcome = Refused
	}
	if w.Verb == Create && w.Outcome != Refused {
		w.User = a.location
	}
}

// send sends one request to any of the doors, once. That a client sends again what it has had no answer to would hide what the
// checker looks for; Go's own does so only where nothing was sent.
func (w *writer) send(write Write) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	req, err := request(ctx, w.doors[w.rng.IntN(len(w.doors))], write)
	if err != nil {
		return answer{}, err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp, body), nil
}

// request makes the request of a write.
func request(ctx context.Context, door string, w Write) (*http.Request, error) {
	method := map[Verb]string{Create: http.MethodPost, Update: http.MethodPatch, Delete: http.MethodDelete}[w.Verb]
	fields := map[string]string{}
	if w.Name != "" {
		fields["name"] = w.Name
	}
	if w.Email != "" {
		fields["email"] = w.Email
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	if w.Verb == Delete {
		body = nil
	}
	url := strings.TrimSuffix("http://"+door+"/v1/users/"+w.User, "/")
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if w.IfMatch > 0 {
		req.Header.Set("If-Match", fmt.Sprintf(`"%d"`, w.IfMatch))
	}
	return req, nil
}

// readAnswer takes out of an answer what it says of the write: the version by its ETag, who it is about by Location, and
// whether the door itself does not know.
func readAnswer(resp *http.Response, body []byte) answer {
	a := answer{status: resp.StatusCode}
	a.version, _ = strconv.ParseUint(strings.Trim(resp.Header.Get("ETag"), `"`), 10, 64) // 0 where there is none
	if at := resp.Header.Get("Location"); at != "" {
		a.location = path.Base(at)
	}
	var problem struct {
		Outcome string `json:"outcome"`
	}
	if resp.StatusCode >= 400 && json.Unmarshal(body, &problem) == nil {
		a.unknown = problem.Outcome == "unknown"
	}
	return a
}
