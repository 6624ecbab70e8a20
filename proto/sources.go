package schemas

import "embed"

// Sources holds the .proto files themselves, at the paths by which they import each other. Generated code has everything
// that is in them but the comments, which say what a field means.
//
//go:embed */v*/*.proto */*/v*/*.proto
var Sources embed.FS
