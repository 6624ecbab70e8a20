//go:build !cgo

package kafka

import _ "embed"

// librdkafka is C. Without cgo the client's package is empty, and the build fails with bare undefined names. There is
// no file of the name below, so that it stops before it compiles anything, and says what is missing.
//
//go:embed "Tidings needs cgo. Install a C compiler (gcc or clang) and build with CGO_ENABLED=1"
var _ string
