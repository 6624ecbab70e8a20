package schemaregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sr "github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/proto"
)

// server answers over HTTP what the mock registry does, or what a test says in its place. Its answers are those of
// Confluent's registry, word for word.
type server struct {
	sr.Client
	asked  atomic.Int64
	answer func(w http.ResponseWriter, r *http.Request) (done bool) // nil leaves all to the mock
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.answer != nil && s.answer(w, r) {
		return
	}
	var info sr.SchemaInfo
	if err := json.NewDecoder(r.Body).Decode(&info); err != nil {
		fails(w, http.StatusBadRequest, 400, err.Error())
		return
	}
	subject := r.PathValue("subject")
	id, err := s.Register(subject, info, true)
	if err != nil {
		fails(w, http.StatusInternalServerError, 50001, err.Error())
		return
	}
	version, _ := s.GetVersion(subject, info, true)
	_ = json.NewEncoder(w).Encode(map[string]any{"id": id, "version": version, "subject": subject})
}

// fails answers as the registry does where it can't do what was asked.
func fails(w http.ResponseWriter, status, code int, message string) bool {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error_code": code, "message": message})
	return true
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /subjects/{subject}/versions", s)
	mux.Handle("POST /subjects/{subject}", s)
	return mux
}

// start runs a server at its own address, which is returned, with a mock of its own.
func (s *server) start(t *testing.T) string {
	t.Helper()
	s.Client = mock(t)
	h := httptest.NewServer(s.handler())
	t.Cleanup(h.Close)
	return h.URL
}

// created is the event that most tests publish.
func created(t *testing.T) bus.Event {
	return event(t, "key", 1, &eventsv1.UserCreated{User: &eventsv1.User{Id: "1"}})
}

// asking makes a registry by New, as an address would.
func asking(t *testing.T, c kafka.RegistryConfig) kafka.Registry {
	t.Helper()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

const typeCreated = "users.events.v1.UserCreated"

// Publishing over HTTP, and reading with the registry gone: a reader asks it for nothing.
func TestReadersNeedNoRegistry(t *testing.T) {
	t.Parallel()
	var s server
	broker, address, topic := brokerURL(t), s.start(t), unique(t, "topic")
	b := open(t, broker, address, "", New)
	publish(t, b, topic, created(t), created(t))
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the registry was asked %d times by two events of a type", n)
	}
	for i, e := range read(t, open(t, broker, "http://127.0.0.1:1", "", New), topic, 2) {
		if m, err := bus.Decode[*eventsv1.UserCreated](e); err != nil || m.User.Id != "1" {
			t.Errorf("event %d: %v, %v", i, m, err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("reading asked the registry %d times", n-1)
	}
}

// What the registry says of a schema, and that the error says so, with what to do.
func TestWhatTheRegistryRefuses(t *testing.T) {
	const incompatible = `Schema being registered is incompatible with an earlier schema for subject "users.events.v1.UserCreated", details: [{errorType:"FIELD_SCALAR_KIND_CHANGED"}]`
	for _, c := range []struct {
		status, code int
		message      string
		register     bool
		permanent    bool
		want         string
	}{
		{409, 409, incompatible, true, true, "doesn't fit what subject \"users.events.v1.UserCreated\" has: make it compatible, or a type of a new version"},
		{409, 40901, incompatible, true, true, "doesn't fit"},
		{422, 42201, "Invalid schema", true, true, "doesn't take the schema of users/events/v1/events.proto"},
		{404, 40401, "Subject not found.", false, true, "schema_registry.register=false: register it first"},
		{404, 40403, "Schema not found", false, true, "lacks the schema of users/events/v1/events.proto"},
		{404, 404, "HTTP 404 Not Found", true, true, "doesn't take the schema"},
		{401, 401, "Unauthorized", true, false, "Unauthorized"},
		{403, 40301, "Forbidden", true, true, "doesn't let this program at subject \"users.events.v1.UserCreated\""},
		{429, 429, "Too many requests", true, false, "Too many"},
		{500, 50001, "Error in the backend data store", true, false, "backend data store"},
		{503, 50003, "Error forwarding request to leader", true, false, "leader"},
	} {
		s := server{answer: func(w http.ResponseWriter, _ *http.Request) bool { return fails(w, c.status, c.code, c.message) }}
		r := asking(t, kafka.RegistryConfig{URLs: []string{s.start(t)}, Register: c.register})
		_, err := r.Frame(t.Context(), "topic", typeCreated)
		if err == nil || bus.IsPermanent(err) != c.permanent || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%d: %v\npermanent %t, want %t, %s", c.code, err, bus.IsPermanent(err), c.permanent, c.want)
		}
	}
}

// An error that was made permanent is mended from outside: once the registry takes the schema, the next call goes on.
func TestARefusalIsNotRemembered(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	s := server{answer: func(w http.ResponseWriter, _ *http.Request) bool {
		return refuse.Load() && fails(w, 409, 409, "incompatible")
	}}
	r := asking(t, kafka.RegistryConfig{URLs: []string{s.start(t)}, Register: true})
	if _, err := r.Frame(t.Context(), "topic", typeCreated); !bus.IsPermanent(err) {
		t.Fatal(err)
	}
	refuse.Store(false)
	if _, err := r.Frame(t.Context(), "topic", typeCreated); err != nil {
		t.Error(err)
	}
}

// With register=false nothing is registered, and what is there is found.
func TestOnlyLookingUp(t *testing.T) {
	var mu sync.Mutex
	var paths []string
	s := server{answer: func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, r.Method+" "+r.URL.Path)
		return false
	}}
	r := asking(t, kafka.RegistryConfig{URLs: []string{s.start(t)}})
	if _, err := r.Frame(t.Context(), "topic", typeCreated); err != nil {
		t.Fatal(err)
	}
	if want := []string{"POST /subjects/" + typeCreated}; !slices.Equal(paths, want) {
		t.Errorf("asked %q, want %q", paths, want)
	}
}

// A registry that comes back late: Publish waits, as for a broker.
func TestPublishWaitsUntilTheRegistryIsBack(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	broker, topic := brokerURL(t), unique(t, "topic")
	b := open(t, broker, "http://"+address, "", New)
	done := make(chan error, 1)
	go func() { done <- b.Publish(t.Context(), topic, created(t)) }()
	select {
	case err := <-done:
		t.Fatalf("Publish returned %v without a registry", err)
	case <-time.After(300 * time.Millisecond):
	}
	s := server{Client: mock(t)}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	h := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.handler()}}
	h.Start()
	t.Cleanup(h.Close)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := read(t, plain(t, broker, ""), topic, 1); got[0].Err != nil || got[0].Key != "key" {
		t.Errorf("%+v", got[0])
	}
}

// A registry that takes a call and never answers holds nobody up beyond the call's context.
func TestARegistryThatHangsIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	s := server{answer: func(w http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}}
	r := asking(t, kafka.RegistryConfig{URLs: []string{s.start(t)}, Register: true})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := r.Frame(ctx, "topic", typeCreated); !errors.Is(err, context.DeadlineExceeded) || bus.IsPermanent(err) {
		t.Error(err)
	}
}

// Of several registries the next one is asked where the first is away, or not itself.
func TestTheNextRegistryIsAsked(t *testing.T) {
	var well server
	ill := server{answer: func(w http.ResponseWriter, _ *http.Request) bool { return fails(w, 503, 50003, "no leader") }}
	second := well.start(t)
	for _, first := range []string{"http://127.0.0.1:1", ill.start(t)} {
		r := asking(t, kafka.RegistryConfig{URLs: []string{first, second}, Register: true})
		if _, err := r.Frame(t.Context(), "topic", typeCreated); err != nil {
			t.Errorf("%s: %v", first, err)
		}
	}
}

// The password goes to the registry, and into no error.
func TestCredentials(t *testing.T) {
	t.Setenv(kafka.RegistryPasswordEnv, "hunter2")
	s := server{answer: func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "me" && password == "hunter2" {
			return false
		}
		return fails(w, 401, 401, "Unauthorized")
	}}
	address := s.start(t)
	r := asking(t, kafka.RegistryConfig{URLs: []string{address}, Register: true, Username: "me", Password: "hunter2"})
	if _, err := r.Frame(t.Context(), "topic", typeCreated); err != nil {
		t.Error(err)
	}
	for _, c := range []kafka.RegistryConfig{
		{URLs: []string{address}, Username: "you", Password: "hunter2"},
		{URLs: []string{"http://127.0.0.1:1"}, Username: "me", Password: "hunter2"},
	} {
		_, err := asking(t, c).Frame(t.Context(), "topic", typeCreated)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
	}
}

// A registry behind TLS is trusted by the certificates that the address names, and else not at all.
func TestCertificates(t *testing.T) {
	s := server{Client: mock(t)}
	h := httptest.NewUnstartedServer(s.handler())
	h.Config.ErrorLog = nil
	h.StartTLS()
	t.Cleanup(h.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pemOf(h), 0o600); err != nil {
		t.Fatal(err)
	}
	r := asking(t, kafka.RegistryConfig{URLs: []string{h.URL}, Register: true, CA: file})
	if _, err := r.Frame(t.Context(), "topic", typeCreated); err != nil {
		t.Error(err)
	}
	if _, err := asking(t, kafka.RegistryConfig{URLs: []string{h.URL}, Register: true}).Frame(t.Context(), "topic", typeCreated); err == nil {
		t.Error("a certificate that nobody trusts is taken")
	}
	for name, text := range map[string]string{"none.pem": "", "empty.pem": "nothing"} {
		path := filepath.Join(t.TempDir(), name)
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := New(kafka.RegistryConfig{URLs: []string{h.URL}, CA: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Ids that a frame can't hold are the registry's fault, and nothing is published under them.
func TestIdsThatNoFrameHolds(t *testing.T) {
	for _, id := range []int64{0, -1, 1 << 32} {
		s := server{answer: func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprintf(w, `{"id":%d,"version":1}`, id)
			return true
		}}
		r := asking(t, kafka.RegistryConfig{URLs: []string{s.start(t)}, Register: true})
		if _, err := r.Frame(t.Context(), "topic", typeCreated); err == nil || !strings.Contains(err.Error(), "which no frame can hold") {
			t.Errorf("%d: %v", id, err)
		}
	}
}

// Many events of many types, published at once: each type is asked for once.
func TestEachTypeIsAskedForOnce(t *testing.T) {
	t.Parallel()
	var s server
	r := asking(t, kafka.RegistryConfig{URLs: []string{s.start(t)}, Register: true})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for _, m := range []proto.Message{&eventsv1.UserCreated{}, &eventsv1.UserUpdated{}, &eventsv1.UserDeleted{}} {
				if _, err := r.Frame(t.Context(), "topic", string(m.ProtoReflect().Descriptor().FullName())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if n := s.asked.Load(); n != 3 {
		t.Errorf("asked %d times for 3 types", n)
	}
}
