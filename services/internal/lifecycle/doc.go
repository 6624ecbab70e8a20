// Package lifecycle is the life of a service, the same for all: what it is put together from, in which order, and
// how it is stopped, by itself as a program or beside the others in `tidings up`.
//
// # How a service is put together
//
// A service says what is its own in a [Spec], and the [Runner] made of it does, at each Run:
//
//  1. the bus: its address is checked, and nobody waits for the broker
//  2. the database: locked, opened, the service's own migrations run
//  3. the gRPC address: listened on, so that one in use is known before anything runs
//  4. [Spec.Build]: the service makes its store, its inbox or outbox and its gRPC server, and names by
//     [Parts.Go] what is to run
//  5. all that runs is started, gRPC with it; ready is called; reads are answered
//
// None of these needs the broker, so a service starts and answers reads without it. What notices the broker is the
// subscription; it turns health "bus", and nothing else, by [grpcserver.Server.SetBus]:
//
//	func build(ctx context.Context, cfg Config, p *lifecycle.Parts) error {
//		st := store.New(p.DB)
//		in, err := inbox.New(inbox.Config{Group: "directory", DB: p.DB.DB, OnReady: p.GRPC.SetBus, OnGap: p.OnGap, …}, st.Routes()...)
//		if err != nil {
//			return err
//		}
//		directoryv1.RegisterDirectoryServiceServer(p.GRPC, newServer(st, in))
//		p.Consume(in)
//		p.OnStatus(func(ctx context.Context, s *lifecycle.Status) (err error) { s.Count, err = st.Count(ctx); return err })
//		return nil
//	}
//
// What it publishes and reads is announced on the bus, by [announce.Run], unless Config.Announce says otherwise:
// [Parts.Consume] knows what it reads, and [Parts.Publishes] says what it publishes.
//
// No part of a service asks which bus it is on. What a bus does without is in its guarantees, and the Runner says it at
// start and in the [Status]: on one that keeps no log, with what that means to this service ([Spec.Unheard]).
//
// # How it stops
//
// In the reverse order: gRPC takes no more calls and lets those in hand finish; then what Parts.Go has started, the
// last one first, each told only when the one before has ended; then the bus, then the database. What runs has
// [Spec.StopTimeout], and the bus [CloseTimeout] after it. What hangs is named by the error of Run, and the database
// then stays locked as long as the process lives, for something still uses it.
//
// A failure of one part stops the others in the same way, and is the error of Run. Whoever runs several services hears
// of each change of state by [Env.OnChange], without asking.
package lifecycle
