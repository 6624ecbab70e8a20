package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/moogar0880/problems"
)

// Platform is what the control door opens to.
type Platform interface {
	// Report says how every service is. It asks the databases, and blocks until they answer or ctx ends.
	Report(ctx context.Context) Report
	// Start starts a service that is stopped, and returns once it serves, or why it does not.
	Start(ctx context.Context, name string) error
	// Stop stops a service and returns once it is gone. One that is stopped already is no error.
	Stop(ctx context.Context, name string) error
}

// ErrUnknownService is wrapped by Start's and Stop's error for a name that is no service's.
var ErrUnknownService = errors.New("no such service")

const (
	readTime = 5 * time.Second
	// stopTime is for answers that are being written; an answer that waits for a service is not waited for.
	stopTime = 500 * time.Millisecond
)

// Serve answers on l until ctx ends, then closes it, within a second. It accepts no request that a web page of
// elsewhere makes: none with another origin, and none by a name that is not loopback's, which a page could have made
// to mean this machine.
func Serve(ctx context.Context, l net.Listener, p Platform, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           onlyLoopback(http.NewCrossOriginProtection().Handler(routes(p))),
		ReadHeaderTimeout: readTime, ReadTimeout: readTime,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if srv.Shutdown(within) != nil {
		_ = srv.Close() // whoever still waits for an answer gets none
	}
	<-ended
	return nil
}

// onlyLoopback refuses requests whose Host is not localhost, nor an address of loopback.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			problem(w, http.StatusForbidden, fmt.Errorf("the control door answers to localhost, 127.0.0.1 and [::1] only, not to %q", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]") // without a port
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

func routes(p Platform) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.Report(r.Context())) // fails only where nobody reads any more
	})
	mux.HandleFunc("POST /v1/services/{name}/start", change(p.Start))
	mux.HandleFunc("POST /v1/services/{name}/stop", change(p.Stop))
	return mux
}

func change(do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := do(r.Context(), r.PathValue("name"))
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, ErrUnknownService):
			problem(w, http.StatusNotFound, err)
		default:
			problem(w, http.StatusConflict, err)
		}
	}
}

// marker is a header of every refusal of the control door. Other doors refuse in the same form.
const marker = "Tidings-Control"

func problem(w http.ResponseWriter, status int, err error) {
	w.Header().Set(marker, "1")
	w.Header().Set("Content-Type", problems.ProblemMediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problems.NewDetailedProblem(status, err.Error()))
}
