package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// partitions is how many the topic has.
const partitions = 6

// rig is the whole platform of a run: brokers, services, databases, a mail server, and the links between them.
type rig struct {
	cfg        Config
	logs, data string // folders
	topic      string
	ports      *ports
	starter    *starter
	links      map[string][]*link // by name, and by the name of a group of them
	brokers    *brokers
	services   []*service
	dbs        map[string]*database // by kind of service
	mail       *mailServer
	ledger     *ledger
	spoiler    *spoiler
	client     *kgo.Client // past all links
}

// service is one replica.
type service struct {
	*process
	kind         string
	listen, door string
}

// newRig starts everything. What was started by the time of an error is closed by close.
func newRig(ctx context.Context, cfg Config) (*rig, error) {
	r := &rig{
		cfg: cfg, logs: filepath.Join(cfg.Dir, "logs"), data: filepath.Join(cfg.Dir, "data"), topic: "soak-" + uuid.NewString(),
		ports: newPorts(), starter: newStarter(), links: map[string][]*link{}, dbs: map[string]*database{}, ledger: newLedger(),
	}
	for _, dir := range []string{r.logs, r.data} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return r, fmt.Errorf("soak: %w", err)
		}
	}
	steps := []func(context.Context) error{r.startMail, r.startBrokers, r.openDatabases, r.makeServices, r.start, r.watch}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return r, err
		}
	}
	return r, nil
}

// startMail starts the mail server, with an address for each mailer.
func (r *rig) startMail(context.Context) (err error) {
	r.mail, err = startMailServer(slices.DeleteFunc(r.names(), func(name string) bool { return !strings.HasPrefix(name, mailer) })...)
	return err
}

// names are the replicas: two of each on Postgres, for a SQLite file is one process's.
func (r *rig) names() []string {
	replicas := 1
	if r.cfg.Postgres != "" {
		replicas = 2
	}
	var all []string
	for _, kind := range kinds {
		for i := range replicas {
			all = append(all, fmt.Sprintf("%s-%d", kind, i+1))
		}
	}
	return all
}

// startBrokers starts all brokers at once, and waits until each of them knows of all.
func (r *rig) startBrokers(ctx context.Context) (err error) {
	if r.cfg.Jars == "" {
		r.brokers, err = r.embeddedBroker()
	} else {
		r.brokers, err = r.realCluster(ctx, r.names())
	}
	if err != nil {
		return err
	}
	for _, b := range r.brokers.all {
		if err := b.up(); err != nil {
			return err
		}
	}
	if r.client, err = kgo.NewClient(kgo.SeedBrokers(r.brokers.direct...)); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	if err := awaitBrokers(ctx, r.client, len(r.brokers.all)); err != nil {
		return fmt.Errorf("soak: brokers: %w", err)
	}
	r.spoiler = newSpoiler(r.cfg.Seed, r.topic, r.brokers.direct, r.ledger)
	return nil
}

// openDatabases opens each kind's database beside the services, which have yet to make it.
func (r *rig) openDatabases(context.Context) (err error) {
	run := strings.ReplaceAll(uuid.NewString()[:8], "-", "")
	for _, kind := range kinds {
		if r.cfg.Postgres == "" {
			r.dbs[kind], err = openSQLite(kind, filepath.Join(r.data, kind+".db"))
		} else {
			r.dbs[kind], err = openSchema(kind, r.cfg.Postgres, "soak_"+run+"_"+kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link makes a link that can be found by its own name, and by that of a group.
func (r *rig) link(name, to, group string) (*link, error) {
	k, err := newLink(name, to)
	if err != nil {
		return nil, err
	}
	r.links[name] = append(r.links[name], k)
	if group != "" {
		r.links[group] = append(r.links[group], k)
	}
	return k, nil
}

// makeServices says how each replica is started. Each of them has addresses of its own that it keeps, so that whoever calls it
// finds it again after a restart.
func (r *rig) makeServices(context.Context) error {
	for _, name := range r.names() {
		kind, _, _ := strings.Cut(name, "-")
		s := &service{kind: kind}
		args := []string{r.cfg.Self, "--log-format=json", "--topic=" + r.topic, "--bus=" + r.brokers.url(name)}
		dsn, env, err := r.dsn(kind, name)
		if err != nil {
			return err
		}
		if s.listen, err = r.ports.next(); err != nil {
			return err
		}
		args = append(args, "--db="+dsn, "--listen="+s.listen)
		switch kind {
		case users:
			if s.door, err = r.ports.next(); err != nil {
				return err
			}
			args = append(args, "--door="+s.door)
			if r.cfg.Events != "" {
				args = append(args, "--events="+r.cfg.Events)
			}
		case mailer:
			k, err := r.link(name+"~smtp", r.mail.addrs[name], "")
			if err != nil {
				return err
			}
			args = append(args, "--smtp=smtp://"+k.addr()+"?connections=4&timeout="+mailTime.String())
		}
		s.process = newProcess(r.starter, r.logs, name, args...)
		s.env = append(env, programVar+"="+kind)
		r.services = append(r.services, s)
	}
	return nil
}

// mailTime is how long one mail may take; a lease on it is twice as long.
const mailTime = 4 * time.Second

// dsn is the --db of a replica, on Postgres by a link of its own.
func (r *rig) dsn(kind, name string) (dsn string, env []string, err error) {
	if r.cfg.Postgres == "" {
		return filepath.Join(r.data, kind+".db"), nil, nil
	}
	u, err := url.Parse(r.cfg.Postgres)
	if err != nil {
		return "", nil, errors.New("soak: the address of Postgres can't be read")
	}
	k, err := r.link(name+"~postgres", u.Host, "")
	if err != nil {
		return "", nil, err
	}
	u.Host = k.addr()
	if password, set := u.User.Password(); set {
		env = append(env, "TIDINGS_DB_PASSWORD="+password)
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	q.Set("schema", r.dbs[kind].schema)
	q.Set("application_name", r.application(name))
	q.Set("pool_max_conns", "6")
	u.RawQuery = q.Encode()
	return u.String(), env, nil
}

// application is what a replica's sessions at Postgres are called.
func (r *rig) application(name string) string { return r.topic[:13] + "-" + name }

// start starts all services at once, and waits until they serve.
func (r *rig) start(ctx context.Context) error {
	for _, s := range r.services {
		if err := s.up(); err != nil {
			return err
		}
	}
	return r.awaitServices(ctx)
}

// awaitServices waits until every replica answers reads. It asks for their health, as an operator would, and not for their
// bus: a service serves without.
func (r *rig) awaitServices(ctx context.Context) error {
	var g errgroup.Group
	for _, s := range r.services {
		g.Go(func() error {
			if err := until(ctx, startTime, s.serves); err != nil {
				return fmt.Errorf("soak: %s does not serve: %w", s.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// serves asks for the service's health.
func (s *service) serves(ctx context.Context) error {
	conn, err := grpc.NewClient(s.listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	if err == nil && answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("health is %v", answer.GetStatus())
	}
	return err
}

// watch has every database note its changes. Services have made their tables by the time that they serve.
func (r *rig) watch(ctx context.Context) error {
	for _, db := range r.dbs {
		if err := db.watch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// of are the replicas of a kind.
func (r *rig) of(kind string) []*service {
	var all []*service
	for _, s := range r.services {
		if s.kind == kind {
			all = append(all, s)
		}
	}
	return all
}

// close ends everything that was started. Files stay.
func (r *rig) close() error {
	var faults []error
	for _, s := range r.services {
		faults = append(faults, s.close())
	}
	if r.client != nil {
		r.client.Close()
	}
	if r.brokers != nil {
		for _, b := range r.brokers.all {
			faults = append(faults, b.close())
		}
	}
	for _, group := range r.links {
		for _, k := range group {
			k.close()
		}
	}
	for _, db := range r.dbs {
		faults = append(faults, db.close())
	}
	if r.mail != nil {
		r.mail.close()
	}
	r.starter.close()
	return errors.Join(faults...)
}

// ports gives out addresses on loopback that stay free while nobody listens there: below those that the system gives out.
type ports struct{ from int }

// newPorts begins anywhere, for another package's tests may look for ports at the same moment.
func newPorts() *ports { return &ports{from: 15_000 + rand.IntN(4_000)} }

// next is an address that was not given out before, and where nobody listens.
func (p *ports) next() (string, error) {
	for ; p.from < 32_000; p.from++ {
		addr := fmt.Sprintf("127.0.0.1:%d", p.from)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			p.from++
			return addr, nil
		}
	}
	return "", errors.New("soak: no free ports")
}
