//go:build !cgo

package kafka

import _ "embed"

// Without cgo the SQLite driver compiles to a stub that fails when it is first used. There is no file of the name
// below, so that a build without cgo stops before it compiles anything, and says what is missing.
//
//go:embed "Tidings needs cgo. Install a C compiler (gcc or clang) and build with CGO_ENABLED=1"
var _ string
