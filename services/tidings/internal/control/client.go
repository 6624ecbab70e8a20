package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/moogar0880/problems"
)

// Client asks the platform at Address, "127.0.0.1:8479".
type Client struct {
	Address string
	HTTP    *http.Client // nil is http.DefaultClient
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 4 << 20

// Report asks how every service is.
func (c Client) Report(ctx context.Context) (Report, error) {
	var r Report
	err := c.call(ctx, http.MethodGet, "/v1/status", &r)
	return r, err
}

// Start starts a service, and returns once it serves.
func (c Client) Start(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/services/"+url.PathEscape(name)+"/start", nil)
}

// Stop stops a service, and returns once it is gone.
func (c Client) Stop(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/services/"+url.PathEscape(name)+"/stop", nil)
}

func (c Client) call(ctx context.Context, method, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, nil)
	if err != nil {
		return fmt.Errorf("--control %s: %w", c.Address, err)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no platform answers at %s; start it with `go run ./services/tidings up`, or pass --control: %w",
			c.Address, errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	return c.read(resp, answer)
}

func (c Client) read(resp *http.Response, answer any) error {
	body := io.LimitReader(resp.Body, maxAnswer)
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode == http.StatusOK && answer != nil:
		if err := json.NewDecoder(body).Decode(answer); err != nil {
			return fmt.Errorf("--control %s: what answers there is no platform of Tidings: %w", c.Address, err)
		}
		return nil
	}
	var p problems.Problem
	if err := json.NewDecoder(body).Decode(&p); err != nil || p.Detail == "" || resp.Header.Get(marker) == "" {
		return fmt.Errorf("--control %s: what answers there is no platform of Tidings; its control door is where `tidings up` says at "+
			"its start, not the write door: it answered %s", c.Address, resp.Status)
	}
	return errors.New(p.Detail)
}
