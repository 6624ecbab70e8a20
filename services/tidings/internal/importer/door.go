package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// outcome is what became of a row.
type outcome int

const (
	created outcome = iota
	alreadyThere
	refused
)

// door is the write door as its client sees it.
type door struct {
	url    string
	client *http.Client
	retry  time.Duration
	notify func(err error, next time.Duration)
	// foreign says that what listens there speaks something else than HTTP.
	foreign *atomic.Bool
}

// requestTime bounds one request; a door that is slower is tried again.
const requestTime = 30 * time.Second

func newDoor(url string, workers int, retry time.Duration, notify func(error, time.Duration)) *door {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.MaxIdleConns = workers, workers
	foreign := new(atomic.Bool)
	if strings.HasPrefix(url, "http://") { // below TLS nothing can be told
		transport.DialContext = listening(transport.DialContext, foreign)
	}
	return &door{
		url:    strings.TrimRight(url, "/") + "/v1/users",
		client: &http.Client{Transport: transport, Timeout: requestTime},
		retry:  retry, notify: notify, foreign: foreign,
	}
}

func (d *door) close() { d.client.CloseIdleConnections() }

// create makes one user, and tries again while the door can't be reached or can't store. reason says why a row was
// refused; err, that the door was lost.
func (d *door) create(ctx context.Context, row Row) (o outcome, reason string, err error) {
	body, err := json.Marshal(row.body())
	if err != nil {
		return refused, err.Error(), nil
	}
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = 100*time.Millisecond, 2*time.Second
	o, err = backoff.Retry(ctx, func() (outcome, error) {
		o, why, err := d.post(ctx, body)
		reason = why
		return o, err
	}, backoff.WithBackOff(delays), backoff.WithMaxElapsedTime(d.retry), backoff.WithNotify(d.notify))
	return o, reason, err
}

func (d *door) post(ctx context.Context, body []byte) (outcome, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return 0, "", backoff.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	switch {
	case err != nil && d.foreign.Load():
		return 0, "", backoff.Permanent(errForeign)
	case err != nil:
		return 0, "", err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
		_ = resp.Body.Close()
	}()
	return answer(resp)
}

// answer tells a row that is at fault from a door that is.
func answer(resp *http.Response) (outcome, string, error) {
	switch code := resp.StatusCode; {
	case code == http.StatusCreated:
		return created, "", nil
	case code == http.StatusConflict:
		return alreadyThere, "", nil
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return 0, "", fmt.Errorf("the door answered %s", resp.Status)
	case code == http.StatusBadRequest, code == http.StatusUnprocessableEntity, code == http.StatusRequestEntityTooLarge:
		return refused, problem(resp), nil
	default:
		return 0, "", backoff.Permanent(fmt.Errorf("the door answered %s: is --door the address of a write door?", resp.Status))
	}
}

// maxProblem bounds what is read of an error's text.
const maxProblem = 64 << 10

// problem puts the problem+json of a refusal into one line.
func problem(resp *http.Response) string {
	var p struct {
		Title, Detail string
		Errors        []struct{ Field, Detail string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&p); err != nil {
		return resp.Status
	}
	var parts []string
	for _, e := range p.Errors {
		parts = append(parts, e.Field+": "+e.Detail)
	}
	if len(parts) == 0 {
		parts = append(parts, strings.TrimSpace(p.Title+" "+p.Detail))
	}
	return strings.Join(parts, "; ")
}

// ErrDoorLost is wrapped by the error of an import that the door cut off.
var ErrDoorLost = errors.New("the write door can't be reached")
