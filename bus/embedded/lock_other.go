//go:build !unix

package embedded

// dirLock can't keep anybody out where there is no flock; there the address in use is what stops a second broker.
type dirLock struct{}

func lockDir(dir string) (*dirLock, error) { return &dirLock{}, makeDir(dir) }

func (*dirLock) release() error { return nil }
