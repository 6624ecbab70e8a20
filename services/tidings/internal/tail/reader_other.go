//go:build !unix

package tail

import "os"

// nobodyReads is not to be found out here: the next write tells.
func nobodyReads(*os.File) bool { return false }
