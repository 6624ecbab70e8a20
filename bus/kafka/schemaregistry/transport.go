package schemaregistry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// connectTimeout is how long a registry may take to be connected to, before the next one is tried.
const connectTimeout = 2 * time.Second

// transport gives each request the context of the call that it is made for, because the client's calls take none. So
// one call at a time may use it.
type transport struct {
	base *http.Transport
	ctx  context.Context
}

// newTransport trusts the certificates in file ca, or those that the system trusts.
func newTransport(ca string) (*transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("schemaregistry: certificates: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("schemaregistry: no certificate in %s", ca)
		}
	}
	return &transport{base: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig: conf,
		IdleConnTimeout: 10 * time.Second, // it is asked once a type
	}}, nil
}

// client has no timeout of its own: the context of the call has.
func (t *transport) client() *http.Client { return &http.Client{Transport: t} }

// ask has requests made under ctx, until the function that it returns is called.
func (t *transport) ask(ctx context.Context) (done func()) {
	t.ctx = ctx
	return func() { t.ctx = nil }
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.base.RoundTrip(r.WithContext(t.ctx))
}

func (t *transport) close() { t.base.CloseIdleConnections() }
