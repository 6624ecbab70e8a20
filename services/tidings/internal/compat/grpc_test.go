package compat_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tidings-dev/tidings/bus/bustest"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	users "github.com/tidings-dev/tidings/services/users/service"
)

// platform is today's four services on one bus, with one user whom all have heard of.
type platform struct {
	conns map[string]*grpc.ClientConn // by the package of the service's API
	user  string
	event string // the id of the mail
}

// startPlatform starts all four, and writes a user by the door.
func startPlatform(t *testing.T) platform {
	t.Helper()
	rec := bustest.NewRecorder()
	p := platform{conns: map[string]*grpc.ClientConn{}}
	run := func(name string, build func(config.Common, lifecycle.Env) *lifecycle.Runner) *servicetest.Running {
		cfg := servicetest.Common(t, name)
		r := servicetest.Start(t, servicetest.Over(rec), func(env lifecycle.Env) *lifecycle.Runner { return build(cfg, env) })
		p.conns[name+".v1"] = r.Conn
		return r
	}
	owner := run("users", func(c config.Common, env lifecycle.Env) *lifecycle.Runner {
		return users.New(users.Config{Common: c, Door: "127.0.0.1:0"}, env)
	})
	readers := []*servicetest.Running{
		run("directory", func(c config.Common, env lifecycle.Env) *lifecycle.Runner {
			return directory.New(directory.Config{Common: c}, env)
		}),
		run("audit", func(c config.Common, env lifecycle.Env) *lifecycle.Runner {
			return audit.New(audit.Config{Common: c}, env)
		}),
		run("mailer", func(c config.Common, env lifecycle.Env) *lifecycle.Runner {
			return mailer.New(mailer.Config{Common: c, Mailbox: t.TempDir(), MailFrom: "Tidings <welcome@tidings.example>"}, env)
		}),
	}
	p.user = create(t, owner.Info.Door)
	waiting, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	defer cancel()
	events, err := rec.WaitPublished(waiting, servicetest.Topic, 1)
	if err != nil {
		t.Fatal(err)
	}
	p.event = events[0].ID
	for _, r := range readers {
		r.CaughtUp()
	}
	return p
}

// create writes a user with all that users have today, and returns the id.
func create(t *testing.T, door string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Post("http://"+door+"/v1/users", "application/json", strings.NewReader(
		`{"email":"ada@example.com","name":"Ada Lovelace","display_name":"Countess","locale":"en-GB","phone":"+41443643232"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	u := &usersv1.User{}
	if err == nil && resp.StatusCode == http.StatusCreated {
		err = protojson.Unmarshal(body, u)
	}
	if err != nil || u.GetId() == "" {
		t.Fatalf("the door answers %s %s, %v", resp.Status, body, err)
	}
	return u.GetId()
}

// read is a request of each read RPC, as JSON, and where its answer tells of the user.
type read struct {
	request string
	path    []protoreflect.Name // to the name of the user, or what stands for it; through lists to their first
	want    string
}

func (p platform) reads() map[protoreflect.FullName]read {
	return map[protoreflect.FullName]read{
		"users.v1.UserService.GetUser":                {fmt.Sprintf(`{"id":%q}`, p.user), []protoreflect.Name{"user", "name"}, "Ada Lovelace"},
		"users.v1.UserService.ListUsers":              {`{"page_size":1}`, []protoreflect.Name{"users", "email"}, "ada@example.com"},
		"directory.v1.DirectoryService.GetPerson":     {fmt.Sprintf(`{"id":%q,"min_version":1}`, p.user), []protoreflect.Name{"person", "name"}, "Ada Lovelace"},
		"directory.v1.DirectoryService.LookupByEmail": {`{"email":"ada@example.com"}`, []protoreflect.Name{"people", "name"}, "Ada Lovelace"},
		"directory.v1.DirectoryService.SearchPeople":  {`{"query":"love"}`, []protoreflect.Name{"people", "id"}, p.user},
		"audit.v1.AuditService.ListUserEvents":        {fmt.Sprintf(`{"user_id":%q}`, p.user), []protoreflect.Name{"entries", "event", "event_id"}, p.event},
		"mailer.v1.MailerService.ListMessages":        {fmt.Sprintf(`{"user_id":%q}`, p.user), []protoreflect.Name{"messages", "to"}, "ada@example.com"},
		"mailer.v1.MailerService.GetMessage":          {fmt.Sprintf(`{"event_id":%q}`, p.event), []protoreflect.Name{"message", "user_id"}, p.user},
	}
}

// methods are all RPCs that files describe.
func methods(files *protoregistry.Files) (all []protoreflect.MethodDescriptor) {
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				all = append(all, f.Services().Get(i).Methods().Get(j))
			}
		}
		return true
	})
	return all
}

// rpcPath is how gRPC names a method.
func rpcPath(m protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
}

// call calls a method as whoever has nothing but its descriptor does.
func call(t *testing.T, conn grpc.ClientConnInterface, m protoreflect.MethodDescriptor, request string) *dynamicpb.Message {
	t.Helper()
	in, out := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		t.Fatalf("%s: %v", m.FullName(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	defer cancel()
	if err := conn.Invoke(ctx, rpcPath(m), in, out); err != nil {
		t.Errorf("%s: %v", m.FullName(), err)
	}
	return out
}

// first is like get, and of lists takes the first.
func first(t *testing.T, m protoreflect.Message, names ...protoreflect.Name) string {
	t.Helper()
	for i, name := range names {
		field := m.Descriptor().Fields().ByName(name)
		if field == nil || !m.Has(field) {
			return fmt.Sprintf("(no %s)", name)
		}
		value := m.Get(field)
		if field.IsList() {
			value = value.List().Get(0)
		}
		if i == len(names)-1 {
			return value.String()
		}
		m = value.Message()
	}
	return ""
}

// One who has generated a client from 0.1.0, and one who asks the server for its descriptors, as grpcurl does.
func TestAnOlderClientReadsFromTodaysServers(t *testing.T) {
	p := startPlatform(t)
	reads, called := p.reads(), 0
	for _, side := range []struct {
		name  string
		files func(pkg string) *protoregistry.Files
	}{
		{"0.1.0", func(string) *protoregistry.Files { return older(t).Files }},
		{"reflection", func(pkg string) *protoregistry.Files { return reflected(t, p.conns[pkg]).files(t) }},
	} {
		for pkg, conn := range p.conns {
			for _, m := range methods(side.files(pkg)) {
				r, known := reads[m.FullName()]
				switch {
				case !strings.HasPrefix(string(m.FullName()), pkg+"."):
					continue
				case !known:
					t.Fatalf("%s: there is no request for this RPC: add one", m.FullName())
				}
				answer := call(t, conn, m, r.request)
				if got := first(t, answer, r.path...); got != r.want {
					t.Errorf("%s, %s: %s is %q, want %q, in %v", side.name, m.FullName(), r.path, got, r.want, answer)
				}
				called++
			}
		}
	}
	if called != 2*len(reads) {
		t.Errorf("%d calls, want each of %d RPCs by both", called, len(reads))
	}
	testSuperset(t, p)
	testWhatAnOlderClientPassesOn(t, p)
}

// What an older client gets and hands on has all that the server told.
func testWhatAnOlderClientPassesOn(t *testing.T, p platform) {
	t.Helper()
	d, err := older(t).FindDescriptorByName("users.v1.UserService.GetUser")
	if err != nil {
		t.Fatal(err)
	}
	answer := call(t, p.conns["users.v1"], d.(protoreflect.MethodDescriptor), fmt.Sprintf(`{"id":%q}`, p.user))
	whole := &usersv1.GetUserResponse{}
	if err := proto.Unmarshal(marshal(t, answer), whole); err != nil {
		t.Fatal(err)
	}
	resp, err := usersv1.NewUserServiceClient(p.conns["users.v1"]).GetUser(t.Context(), &usersv1.GetUserRequest{Id: p.user})
	if err != nil || !proto.Equal(resp, whole) {
		t.Errorf("an older client passes on %v, and the server told %v, %v", whole, resp, err)
	}
}

// reflector asks a server what it is, and remembers.
type reflector struct {
	stream reflectionpb.ServerReflection_ServerReflectionInfoClient
	parsed map[string]*descriptorpb.FileDescriptorProto
}

func reflected(t *testing.T, conn grpc.ClientConnInterface) *reflector {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	t.Cleanup(cancel)
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &reflector{stream, map[string]*descriptorpb.FileDescriptorProto{}}
}

// ask returns nil where the server doesn't know.
func (r *reflector) ask(t *testing.T, q *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
	t.Helper()
	if err := r.stream.Send(q); err != nil {
		t.Fatal(err)
	}
	resp, err := r.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetErrorResponse() != nil {
		return nil
	}
	return resp
}

// load takes over the file that has a symbol, with those that it imports.
func (r *reflector) load(t *testing.T, symbol string) {
	t.Helper()
	resp := r.ask(t, &reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol},
	})
	for _, raw := range resp.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var f descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		r.parsed[f.GetName()] = &f
	}
}

// files are those of all services of the server, and of what load has asked for.
func (r *reflector) files(t *testing.T) *protoregistry.Files {
	t.Helper()
	resp := r.ask(t, &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	for _, service := range resp.GetListServicesResponse().GetService() {
		r.load(t, service.GetName())
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range r.parsed {
		set.File = append(set.File, f)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// olderServer answers every RPC of 0.1.0 as a server of then does: with messages that know what was known then.
func olderServer(t *testing.T, old released, answer func(m protoreflect.MethodDescriptor, in *dynamicpb.Message) (*dynamicpb.Message, error)) *grpc.ClientConn {
	t.Helper()
	srv := grpc.NewServer()
	var descs = map[protoreflect.FullName]*grpc.ServiceDesc{}
	for _, m := range methods(old.Files) {
		name := m.Parent().FullName()
		if descs[name] == nil {
			descs[name] = &grpc.ServiceDesc{ServiceName: string(name), HandlerType: (*any)(nil), Metadata: m.ParentFile().Path()}
		}
		descs[name].Methods = append(descs[name].Methods, grpc.MethodDesc{
			MethodName: string(m.Name()),
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := dynamicpb.NewMessage(m.Input())
				if err := decode(in); err != nil {
					return nil, err
				}
				return answer(m, in)
			},
		})
	}
	for _, d := range descs {
		srv.RegisterService(d, nil)
	}
	reflectionpb.RegisterServerReflectionServer(srv, reflection.NewServerV1(reflection.ServerOptions{
		Services: srv, DescriptorResolver: withReflection(old),
	}))
	return serve(t, srv)
}

// withReflection resolves what the server itself brings beside the release: reflection.
type withReflection struct{ *protoregistry.Files }

// FindFileByPath implements protodesc.Resolver.
func (r withReflection) FindFileByPath(name string) (protoreflect.FileDescriptor, error) {
	if f, err := r.Files.FindFileByPath(name); err == nil || !strings.HasPrefix(name, "grpc/reflection/") {
		return f, err
	}
	return protoregistry.GlobalFiles.FindFileByPath(name)
}

// FindDescriptorByName implements protodesc.Resolver.
func (r withReflection) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, err := r.Files.FindDescriptorByName(name); err == nil || !strings.HasPrefix(string(name), "grpc.reflection.") {
		return d, err
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

// serve runs a server until the test ends, and returns a connection to it.
func serve(t *testing.T, srv *grpc.Server) *grpc.ClientConn {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(lis); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { srv.Stop(); serving.Wait() })
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answers are what the server of 0.1.0 says, by method.
var answers = map[protoreflect.Name]string{
	"GetUser":        `{"user":{"id":"k","name":"Ada","version":"3"}}`,
	"ListUsers":      `{"users":[{"id":"k","name":"Ada"}],"total_size":1}`,
	"GetPerson":      `{"person":{"id":"k","name":"Ada"}}`,
	"LookupByEmail":  `{"people":[{"id":"k","name":"Ada"}],"next_page_token":"more"}`,
	"SearchPeople":   `{"people":[{"id":"k","name":"Ada"}]}`,
	"ListUserEvents": `{"entries":[{"hole":{"first_version":"2","last_version":"3"}}]}`,
	"ListMessages":   `{"messages":[{"event_id":"e","state":77}]}`,
	"GetMessage":     `{"message":{"event_id":"e","state":"STATE_SENT"}}`,
}

// Today's generated clients ask a server of 0.1.0, also with a field of the future, which it must not mind.
func TestTodaysClientReadsFromAnOlderServer(t *testing.T) {
	old := older(t)
	var seen sync.Map
	conn := olderServer(t, old, func(m protoreflect.MethodDescriptor, in *dynamicpb.Message) (*dynamicpb.Message, error) {
		if !bytes.Equal(in.GetUnknown(), later("asked")) {
			return nil, status.Errorf(codes.InvalidArgument, "it came with %x", in.GetUnknown())
		}
		seen.Store(m.Name(), true)
		out := dynamicpb.NewMessage(m.Output())
		return out, protojson.Unmarshal([]byte(answers[m.Name()]), out)
	})
	testTodaysClients(t, conn)
	for _, m := range methods(old.Files) {
		if _, ok := seen.Load(m.Name()); !ok {
			t.Errorf("no client of today has called %s: add a call", m.FullName())
		}
	}
	// grpcurl of today, on the older server: what that server is, it says itself.
	files := reflected(t, conn).files(t)
	apis := subset(t, old.Files, func(f protoreflect.FileDescriptor) bool { return f.Services().Len() > 0 })
	if diffs := lacks(apis, files); len(diffs) > 0 {
		t.Errorf("by reflection it lacks %q", diffs)
	}
	person, err := files.FindDescriptorByName("directory.v1.Person")
	if err != nil || person.(protoreflect.MessageDescriptor).Fields().ByName("display_name") != nil {
		t.Errorf("a server of 0.1.0 describes %v, %v", person, err)
	}
}

// asked is a request with a field that no server knows.
func asked[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(later("asked"))
	return m
}

func testTodaysClients(t *testing.T, conn grpc.ClientConnInterface) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
	defer cancel()
	check := func(method string, err error, ok bool, resp proto.Message) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s: %v, %v", method, resp, err)
		}
	}
	u := usersv1.NewUserServiceClient(conn)
	user, err := u.GetUser(ctx, asked(&usersv1.GetUserRequest{Id: "k"}))
	check("GetUser", err, user.GetUser().GetName() == "Ada" && user.GetUser().GetVersion() == 3 && user.GetUser().GetDisplayName() == "", user)
	all, err := u.ListUsers(ctx, asked(&usersv1.ListUsersRequest{}))
	check("ListUsers", err, len(all.GetUsers()) == 1 && all.GetTotalSize() == 1, all)

	d := directoryv1.NewDirectoryServiceClient(conn)
	person, err := d.GetPerson(ctx, asked(&directoryv1.GetPersonRequest{Id: "k"}))
	check("GetPerson", err, person.GetPerson().GetName() == "Ada" && person.GetPerson().DisplayName == nil && person.GetPerson().GivenName == nil, person)
	byEmail, err := d.LookupByEmail(ctx, asked(&directoryv1.LookupByEmailRequest{Email: "e"}))
	check("LookupByEmail", err, len(byEmail.GetPeople()) == 1 && byEmail.GetNextPageToken() == "more", byEmail)
	found, err := d.SearchPeople(ctx, asked(&directoryv1.SearchPeopleRequest{Query: "a"}))
	check("SearchPeople", err, len(found.GetPeople()) == 1, found)

	history, err := auditv1.NewAuditServiceClient(conn).ListUserEvents(ctx, asked(&auditv1.ListUserEventsRequest{UserId: "k"}))
	check("ListUserEvents", err, len(history.GetEntries()) == 1 && history.GetEntries()[0].GetHole().GetLastVersion() == 3, history)

	m := mailerv1.NewMailerServiceClient(conn)
	// A state of the future is a number like others.
	messages, err := m.ListMessages(ctx, asked(&mailerv1.ListMessagesRequest{State: future}))
	check("ListMessages", err, len(messages.GetMessages()) == 1 && messages.GetMessages()[0].GetState() == future, messages)
	message, err := m.GetMessage(ctx, asked(&mailerv1.GetMessageRequest{EventId: "e"}))
	check("GetMessage", err, message.GetMessage().GetState() == mailerv1.Message_STATE_SENT, message)
}

// testSuperset compares what today's servers say of themselves with every release: all that was there is there.
func testSuperset(t *testing.T, p platform) {
	t.Helper()
	old := older(t)
	for pkg, conn := range p.conns {
		r := reflected(t, conn)
		// What a server has to have: its API, and the events that it is about.
		want := subset(t, old.Files, func(f protoreflect.FileDescriptor) bool {
			if name := string(f.Package()); name != pkg && name != "users.events.v1" {
				return false
			}
			r.load(t, string(f.Messages().Get(0).FullName()))
			return true
		})
		if diffs := lacks(want, r.files(t)); len(diffs) > 0 {
			t.Errorf("the server of %s lacks of 0.1.0: %q", pkg, slices.Compact(diffs))
		}
	}
}

// subset is those of files that are to be kept.
func subset(t *testing.T, files *protoregistry.Files, keep func(protoreflect.FileDescriptor) bool) *protoregistry.Files {
	t.Helper()
	kept := &protoregistry.Files{}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if keep(f) {
			if err := kept.RegisterFile(f); err != nil {
				t.Fatal(err)
			}
		}
		return true
	})
	return kept
}
