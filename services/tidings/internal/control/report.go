package control

import (
	"encoding/json"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// Report says how the platform is.
type Report struct {
	Bus      Bus                `json:"bus"`
	Data     string             `json:"data"` // the folder that holds the databases
	Services []lifecycle.Status `json:"services"`
	// Quiet says that the owner wrote nothing while the services were asked one after another. Only then can their
	// numbers be compared.
	Quiet bool `json:"quiet"`
}

// MarshalJSON adds the disagreements, for who reads the JSON by a program. Reading it back, they are worked out again.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	found := r.Disagreements()
	if found == nil {
		found = []string{}
	}
	return json.Marshal(struct {
		plain
		Disagreements []string `json:"disagreements"`
	}{plain(r), found})
}

// Bus says what the services are connected to.
type Bus struct {
	URL        string `json:"url"`      // what another process passes as --bus
	Embedded   bool   `json:"embedded"` // the broker runs inside the platform
	Guarantees string `json:"guarantees"`
	Without    string `json:"without,omitempty"` // the guarantees that it lacks
	// KeepsLog reports whether it keeps events for a service that is down or new. Where it doesn't, services are
	// compared by the numbers of events.
	KeepsLog bool   `json:"keeps_log"`
	Topic    string `json:"topic"`
}

// Owner is the service that numbers the versions that the others are compared with.
const Owner = "users"

// Service returns the status of the service of that name.
func (r Report) Service(name string) (lifecycle.Status, bool) {
	for _, s := range r.Services {
		if s.Service == name {
			return s, true
		}
	}
	return lifecycle.Status{}, false
}
