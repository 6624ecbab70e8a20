package platform

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	mailer "github.com/tidings-dev/tidings/services/mailer/service"
	users "github.com/tidings-dev/tidings/services/users/service"
)

// EmbeddedKafka is the bus that is named by no address: the broker inside the process.
const EmbeddedKafka = "kafka"

// Config says what New puts together. Every address must be set.
type Config struct {
	Bus    string // EmbeddedKafka, or the address of a broker
	Broker string // where the embedded broker listens
	Data   string // the folder above that of this bus
	Topic  string
	Door   string // the write door
	Users  string // gRPC of each service
	// Directory, Audit and Mailer are like Users.
	Directory, Audit, Mailer string
	// More is passed on to a service as flags of its own program, by the service's name.
	More map[string][]string
	Log  *slog.Logger
}

// serviceNames are the four, in the order in which they are shown.
var serviceNames = [...]string{"users", "directory", "audit", "mailer"}

// Dir is the folder that holds everything of this platform: one for each bus, for what one bus has carried is
// unknown to another.
func (c Config) Dir() string { return config.DataDir(c.Data, c.Bus) }

func (c Config) embedded() bool { return c.Bus == EmbeddedKafka }

func (c Config) brokerDir() string { return filepath.Join(c.Dir(), "broker") }

// services makes the four, in the order in which they are shown. bus is the address that they connect to.
func (c Config) services(bus string) ([]lifecycle.Service, error) {
	env := lifecycle.Env{Log: c.Log, OpenBus: backends.Open}
	return collect(
		func() (lifecycle.Service, error) {
			var cfg users.Config
			err := c.parse("users", c.Users, bus, &cfg, "--door="+c.Door)
			return users.New(cfg, env), err
		},
		func() (lifecycle.Service, error) {
			var cfg directory.Config
			err := c.parse("directory", c.Directory, bus, &cfg)
			return directory.New(cfg, env), err
		},
		func() (lifecycle.Service, error) {
			var cfg audit.Config
			err := c.parse("audit", c.Audit, bus, &cfg)
			return audit.New(cfg, env), err
		},
		func() (lifecycle.Service, error) {
			var cfg mailer.Config
			err := c.parse("mailer", c.Mailer, bus, &cfg)
			return mailer.New(cfg, env), err
		},
	)
}

func collect(makers ...func() (lifecycle.Service, error)) ([]lifecycle.Service, error) {
	all := make([]lifecycle.Service, 0, len(makers))
	for _, make := range makers {
		s, err := make()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// parse fills in a service's settings as its own program does, so that its defaults and its variables hold here too.
func (c Config) parse(name, listen, bus string, cfg config.Config, more ...string) error {
	args := append([]string{
		"--bus=" + bus, "--db=" + filepath.Join(c.Dir(), name+".db"), "--listen=" + listen, "--topic=" + c.Topic,
	}, more...)
	_, err := config.Parse(append(args, c.More[name]...), io.Discard, config.Defaults{Service: name, Listen: listen}, cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Clear empties the folder of this platform, and leaves alone what Tidings has not put there. It refuses for a bus of
// its own: the log there would keep its events, and the emptied owner would know nothing of them.
func (c Config) Clear() error {
	if !c.embedded() {
		return config.Usage("--fresh: the log at %s keeps its events, and an emptied users would contradict them; "+
			"pass another --topic and --data instead", config.Redact(c.Bus))
	}
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
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

// ours reports whether Tidings makes files of that name.
func ours(name string) bool {
	for _, service := range serviceNames {
		// A lock's file stays: two processes could each lock one of that name.
		if strings.HasPrefix(name, service+".db") && !strings.HasSuffix(name, ".lock") {
			return true
		}
	}
	return name == "broker" || name == "mailbox" || name == LogFile
}

// LogFile is the name of the file, in the folder of the platform, that `tidings up` logs to.
const LogFile = "tidings.log"
