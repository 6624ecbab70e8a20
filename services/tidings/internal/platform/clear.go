package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
)

// LogFile is the name of the file, in the folder of the platform, that `tidings up` logs to.
const LogFile = "tidings.log"

// Claim makes the folder of the platform and keeps other platforms from it until release is called, or the process
// ends. Its error says who has it, and wraps [database.ErrInUse] then. It doesn't block.
func (c Config) Claim() (release func() error, err error) {
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	release, err = database.Lock(filepath.Join(c.Dir(), "platform"))
	var inUse *database.InUseError
	if errors.As(err, &inUse) {
		return nil, &claimedError{dir: c.Dir(), inUse: inUse}
	}
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return release, nil
}

// claimedError says that the data is another platform's.
type claimedError struct {
	dir   string
	inUse *database.InUseError
}

func (e *claimedError) Error() string {
	return fmt.Sprintf("a platform runs on the data in %s already%s; stop it, or pass another --data", e.dir, e.inUse.Holder)
}

func (e *claimedError) Unwrap() error { return e.inUse }

// CheckClear reports whether Clear would refuse for the kind of bus or database, before anything is made. It does for
// Postgres, which others may use too, and for a log at an address of its own: that would keep its events, and the emptied owner would know nothing of them. It waits for no
// broker.
func (c Config) CheckClear(ctx context.Context) error {
	if c.DB != "" {
		return config.Usage("--fresh: it empties files, and no database on a server; pass another database with --db instead")
	}
	if c.embedded() {
		return nil
	}
	if keeps, err := c.keepsLog(ctx); err == nil && !keeps {
		return nil
	}
	return config.Usage("--fresh: the log at %s keeps its events, and an emptied users would contradict them; "+
		"pass another --topic and --data instead", config.Redact(c.Bus))
}

// Clear empties the folder of this platform, and leaves alone what Tidings has not put there. Claim it first. It
// refuses where a service uses its database, and where [Config.CheckClear] does.
func (c Config) Clear(ctx context.Context) error {
	if err := c.CheckClear(ctx); err != nil {
		return err
	}
	unlock, err := c.lockAll()
	if err != nil {
		return fmt.Errorf("--fresh: %w", err)
	}
	defer unlock()
	entries, err := os.ReadDir(c.Dir())
	if err != nil {
		return fmt.Errorf("--fresh: %w", err)
	}
	for _, e := range entries {
		if !ours(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.Dir(), e.Name())); err != nil {
			return fmt.Errorf("--fresh: %w", err)
		}
	}
	return nil
}

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
			return nil, fmt.Errorf("%s: %w", name, c.explain(name, err))
		}
		held = append(held, release)
	}
	return unlock, nil
}

// ours reports whether Tidings makes files of that name, and may remove them.
func ours(name string) bool {
	for _, service := range serviceNames {
		// A lock's file stays: two processes could each lock one of that name.
		if strings.HasPrefix(name, service+".db") && !strings.HasSuffix(name, ".lock") {
			return true
		}
	}
	return name == "broker" || name == "mailbox" || name == LogFile
}
