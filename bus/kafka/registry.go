package kafka

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// RegistryPasswordEnv names the environment variable that holds the schema registry's password.
const RegistryPasswordEnv = "TIDINGS_SCHEMA_REGISTRY_PASSWORD"

// Names of the parameters that speak of the schema registry.
const (
	paramRegistry             = "schema_registry"
	paramRegistryRegister     = paramRegistry + ".register"
	paramRegistrySubject      = paramRegistry + ".subject"
	paramRegistryUsername     = paramRegistry + ".username"
	paramRegistryPasswordFile = paramRegistry + ".password.file"
	paramRegistryCA           = paramRegistry + ".ssl.ca.location"
)

// Option is a setting of [Backend].
type Option func(*backend)

// WithSchemaRegistry lets addresses name a schema registry (parameter schema_registry). Its client is much code, so it
// has a package of its own, and who doesn't pass this links none of it:
//
//	kafka.Backend(kafka.WithSchemaRegistry(schemaregistry.New))
func WithSchemaRegistry(open OpenRegistry) Option {
	return func(b *backend) { b.openRegistry = open }
}

// OpenRegistry makes a [Registry] of what an address says, without waiting for a server. It is called once for each bus
// whose address names one.
type OpenRegistry func(RegistryConfig) (Registry, error)

// Registry knows schemas by number. It is safe for concurrent use.
type Registry interface {
	// Frame returns what stands before the payload of an event of type typ in topic: a magic byte, the id of the type's
	// schema, and which of the schema's messages it is. Whoever gets it must not write to it. The first call for a type
	// asks the server, once, and no longer than ctx lives. An answer that no waiting changes, such as that the schema is
	// refused, is a [bus.Permanent] error; after any other one Frame is called again.
	Frame(ctx context.Context, topic, typ string) ([]byte, error)
	// Close gives back what the registry holds. No Frame is running, and none follows.
	Close()
}

// RegistryConfig is what an address says of the schema registry, checked.
type RegistryConfig struct {
	URLs     []string // http or https, one at least; the next one is asked where one is away
	Register bool     // schemas that the registry lacks are registered; else that is an error
	ByTopic  bool     // subjects are "topic-type" (TopicRecordNameStrategy) and not "type" (RecordNameStrategy)
	Username string   // "" without authentication
	Password string
	CA       string // PEM file with the certificates to trust; "" is the system's
}

// registry opens the registry that the address names, nil where it names none.
func (b backend) registry(c *RegistryConfig) (Registry, error) {
	if c == nil {
		return nil, nil
	}
	if b.openRegistry == nil {
		return nil, fmt.Errorf("parameter %q: this program doesn't link the registry's client; import %s/bus/kafka/schemaregistry "+
			"and open the bus with kafka.Backend(kafka.WithSchemaRegistry(schemaregistry.New))", paramRegistry, module)
	}
	r, err := b.openRegistry(*c)
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", paramRegistry, err)
	}
	return r, nil
}

// module is where the packages are imported from.
const module = "github.com/tidings-dev/tidings"

// registry reads what the address says of the registry; nil where it names none.
func (p *paramReader) registry(s *settings) *RegistryConfig {
	names := []string{paramRegistryRegister, paramRegistrySubject, paramRegistryUsername, paramRegistryPasswordFile, paramRegistryCA}
	if _, set := p.Get(paramRegistry); !set {
		for _, name := range names {
			if _, set := p.Get(name); set {
				p.Fault("parameter %q needs %q", name, paramRegistry)
			}
		}
		return nil
	}
	c := &RegistryConfig{
		URLs:     p.registryURLs(),
		Register: p.OneOf(paramRegistryRegister, "true", "false") == "true",
		ByTopic:  p.OneOf(paramRegistrySubject, "record", "topic_record") == "topic_record",
		Username: p.Text(paramRegistryUsername, ""),
		CA:       p.Text(paramRegistryCA, ""),
	}
	if _, file := p.Get(paramRegistryPasswordFile); file && c.Username == "" {
		p.Fault("parameter %q needs %q", paramRegistryPasswordFile, paramRegistryUsername)
	} else if c.Username != "" {
		c.Password, s.registryPasswordFrom = p.Password(c.Username, RegistryPasswordEnv, paramRegistryPasswordFile)
	}
	if s.mode != modeBinary {
		p.Fault("parameter %q needs %s=%s: the registry's frame stands before a payload, which only that mode shows",
			paramRegistry, paramMode, modeBinary)
	}
	return c
}

// registryURLs reads one or more URLs, with commas between.
func (p *paramReader) registryURLs() []string {
	urls := strings.Split(p.Text(paramRegistry, ""), ",")
	for i, raw := range urls {
		urls[i] = strings.TrimRight(raw, "/")
		u, err := url.Parse(raw)
		switch {
		case err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme):
			p.Fault("parameter %q is no http:// or https:// URL, such as http://host:8081 (it isn't shown, for it may hold a password)", paramRegistry)
		case u.User != nil:
			p.Fault("parameter %q: a user doesn't belong in the address; pass %s and set %s",
				paramRegistry, paramRegistryUsername, RegistryPasswordEnv)
		case u.RawQuery != "" || u.Fragment != "":
			p.Fault("parameter %q: an address ends with its path; write & before the next parameter", paramRegistry)
		}
	}
	return urls
}

// shown lists the settings for a line at the start of a program, without the password.
func (c *RegistryConfig) shown(passwordFrom string) string {
	subject := "record"
	if c.ByTopic {
		subject = "topic_record"
	}
	all := fmt.Sprintf(" %s=%s %s=%t %s=%s", paramRegistry, strings.Join(c.URLs, ","), paramRegistryRegister, c.Register,
		paramRegistrySubject, subject)
	if c.Username != "" {
		all += fmt.Sprintf(" %s=%s (password from %s)", paramRegistryUsername, c.Username, passwordFrom)
	}
	if c.CA != "" {
		all += fmt.Sprintf(" %s=%s", paramRegistryCA, c.CA)
	}
	return all
}
