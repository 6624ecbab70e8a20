// Package schemagate holds the contracts in proto/ still. Events are kept for ever, so what was released of them can be
// added to and never changed: [Gate.Check] compares a checkout with every released state and with the recorded events of
// proto/corpus, [Gate.Release] makes the next released state, and [Gate.Record] the next recorded event.
//
// It reads the checkout that it is given, and none of the generated code, so that it works on a .proto file that was
// saved a moment ago. It needs no history: what was released lies in proto/released as descriptor images.
package schemagate
