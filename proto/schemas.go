// Package schemas carries what was released of the contracts into the programs: the descriptor image of each released
// version, in which every message is described as it was then. The contracts themselves are the .proto files beside it.
package schemas

import "embed"

// Released holds released/vMAJOR.MINOR.PATCH.binpb: each a google.protobuf.FileDescriptorSet with its imports, made by
// `tidings schema release` and never changed after.
//
//go:embed released/*.binpb
var Released embed.FS
