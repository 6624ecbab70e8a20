package platform

import (
	"fmt"
	"path/filepath"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// lockAll locks every database of the platform, so that none is removed under a service that runs.
func (c Config) lockAll() (unlock func(), err error) {
	var held []func() error
	unlock = func() {
		for _, release := range held {
			_ = release() // the lock goes with the process at the latest
		}
	}
	for _, name := range serviceNames {
		release, err := database.Lock(filepath.Join(c.Dir(), name+".db"))
		if err != nil {
			unlock()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		held = append(held, release)
	}
	return unlock, nil
}
