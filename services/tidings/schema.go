package main

// schemaCommand is about the contracts in proto/.
type schemaCommand struct {
	Ls       schemaLs       `cmd:"" help:"List the types of events: since when, who publishes and who reads them, here and on a bus."`
	Show     schemaShow     `cmd:"" help:"Show a message, an enum or a service: its members, what they mean, and since when."`
	Diff     schemaDiff     `cmd:"" help:"Show what was added to the contracts between two releases."`
	AsyncAPI schemaAsyncAPI `cmd:"" name:"asyncapi" help:"Print the AsyncAPI document of the events, as it is in proto/asyncapi.yaml."`
	Check    schemaCheck    `cmd:"" help:"Say what of a checkout's proto/ breaks a released state, and what to do instead; exit 1 where anything does."`
	Record   schemaRecord   `cmd:"" help:"Add golden events of a type to proto/corpus: their bytes, and what they mean."`
	Release  schemaRelease  `cmd:"" help:"Freeze the state of proto/ under a version."`
}
