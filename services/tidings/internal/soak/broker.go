package soak

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus/embedded"
)

// brokers is the Kafka of a run.
type brokers struct {
	all    []*process
	direct []string            // addresses by which the run itself reaches them, past all links
	url    func(string) string // --bus of a client
	params string              // of the address
}

// The embedded broker is a program of its own; see [Program].
const (
	brokerProgram = "embedded-kafka"
	brokerAddr    = "TIDINGS_SOAK_ADDR"
	brokerDir     = "TIDINGS_SOAK_DIR"
)

// serveEmbedded is the embedded broker in a process of its own.
func serveEmbedded() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	k, err := embedded.StartKafka(ctx, embedded.KafkaConfig{Addr: os.Getenv(brokerAddr), Dir: os.Getenv(brokerDir)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-ctx.Done()
	within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := k.Close(within); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// embeddedBroker is one broker, without links: it tells its clients its own address.
func (r *rig) embeddedBroker() (*brokers, error) {
	addr, err := r.ports.next()
	if err != nil {
		return nil, err
	}
	p := newProcess(r.starter, r.logs, "kafka-1", r.cfg.Self)
	p.env = []string{programVar + "=" + brokerProgram, brokerAddr + "=" + addr, brokerDir + "=" + filepath.Join(r.data, "kafka-1")}
	b := &brokers{all: []*process{p}, direct: []string{addr}, params: "?partitions=6"}
	b.url = func(string) string { return "kafka://" + addr + b.params }
	return b, nil
}

// clusterSize is how many real brokers there are. Two of them have to have an event before it is acknowledged.
const clusterSize = 3

// realCluster is a cluster of three. Every client has a listener of its own at each broker, and the address that the
// broker tells it for this is that of a link: so each connection of each client can be cut.
func (r *rig) realCluster(ctx context.Context, clients []string) (*brokers, error) {
	c := cluster{rig: r, id: clusterID(), clients: clients}
	for range clusterSize {
		n := node{own: make(map[string]string)}
		for _, name := range append([]string{"INTERNAL", "CONTROLLER"}, clients...) {
			addr, err := r.ports.next()
			if err != nil {
				return nil, err
			}
			n.own[name] = addr
		}
		c.nodes = append(c.nodes, n)
	}
	b := &brokers{params: "?replication=3&partitions=6"}
	for i := range c.nodes {
		p, err := c.broker(i)
		if err != nil {
			return nil, err
		}
		b.all = append(b.all, p)
		b.direct = append(b.direct, c.nodes[i].own["INTERNAL"])
	}
	if err := c.format(ctx); err != nil {
		return nil, err
	}
	b.url = func(client string) string {
		var hosts []string
		for _, k := range r.links[client+"~kafka"] {
			hosts = append(hosts, k.addr())
		}
		return "kafka://" + strings.Join(hosts, ",") + b.params
	}
	return b, nil
}

// clusterID is 16 bytes in base64, as Kafka wants ids.
func clusterID() string {
	id := uuid.New()
	return strings.NewReplacer("-", "x", "_", "y").Replace(base64.RawURLEncoding.EncodeToString(id[:]))
}

// cluster is what the brokers' configurations are made of.
type cluster struct {
	*rig
	id      string
	clients []string
	nodes   []node
}

// node is one broker: where it listens, by the name of the listener.
type node struct{ own map[string]string }

// listener is the name of a client's listener, which Kafka wants in capitals.
func listener(client string) string { return strings.ToUpper(strings.ReplaceAll(client, "-", "")) }

// broker makes the links, the configuration and the process of a broker.
func (c *cluster) broker(i int) (*process, error) {
	name := "kafka-" + strconv.Itoa(i+1)
	own := c.nodes[i].own
	listeners := []string{"INTERNAL://" + own["INTERNAL"], "CONTROLLER://" + own["CONTROLLER"]}
	advertised := []string{"INTERNAL://" + own["INTERNAL"]}
	protocols := []string{"INTERNAL:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	for _, client := range c.clients {
		k, err := c.link(client+"~"+name, own[client], client+"~kafka")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener(client)+"://"+own[client])
		advertised = append(advertised, listener(client)+"://"+k.addr())
		protocols = append(protocols, listener(client)+":PLAINTEXT")
	}
	config := filepath.Join(c.data, name+".properties")
	text := fmt.Sprintf(properties, i+1, strings.Join(c.voters(), ","), strings.Join(listeners, ","),
		strings.Join(advertised, ","), strings.Join(protocols, ","), filepath.Join(c.data, name))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("soak: %w", err)
	}
	return newProcess(c.starter, c.logs, name, c.java("kafka.Kafka", config)...), nil
}

// java is a command of Kafka's. Little is to be gained by compiling well what runs for a minute.
func (c *cluster) java(class string, args ...string) []string {
	return append([]string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Xmx320m",
		"-Dlog4j2.level=INFO", "-cp", c.cfg.Jars + "/*", class}, args...)
}

// format makes the first broker's storage, and the others' like it but for the two lines that tell them apart: the tool
// takes as long for each as a broker does to start.
func (c *cluster) format(ctx context.Context) error {
	first := filepath.Join(c.data, "kafka-1")
	args := c.java("kafka.tools.StorageTool", "format", "-t", c.id, "-c", first+".properties")
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("soak: format: %w: %s", err, out)
	}
	meta, err := os.ReadFile(filepath.Join(first, "meta.properties"))
	if err != nil {
		return fmt.Errorf("soak: format: %w", err)
	}
	differ := regexp.MustCompile(`(?m)^(node\.id|directory\.id)=.*$`)
	for i := 1; i < len(c.nodes); i++ {
		dir := filepath.Join(c.data, fmt.Sprintf("kafka-%d", i+1))
		own := fmt.Sprintf("%snode.id=%d\ndirectory.id=%s\n", differ.ReplaceAll(meta, nil), i+1, clusterID())
		if err := os.CopyFS(dir, os.DirFS(first)); err != nil {
			return fmt.Errorf("soak: format: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "meta.properties"), []byte(own), 0o644); err != nil {
			return fmt.Errorf("soak: format: %w", err)
		}
	}
	return nil
}

// voters are the controllers, as every one of them has to know them.
func (c *cluster) voters() []string {
	var all []string
	for i, n := range c.nodes {
		all = append(all, fmt.Sprintf("%d@%s", i+1, n.own["CONTROLLER"]))
	}
	return all
}

// properties are those of .ci/real where a test would only wait. What decides about records is as a cluster that must
// not lose has it, and for the rest as Kafka ships it. The many listeners need one thread each.
const properties = `process.roles=broker,controller
node.id=%d
controller.quorum.voters=%s
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
listeners=%s
advertised.listeners=%s
listener.security.protocol.map=%s
log.dirs=%s
num.network.threads=1
num.io.threads=4
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.num.partitions=3
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
`

// startTime is how long brokers and services may take to be there, on a machine that is busy with other tests. Alone they
// take some seconds.
const startTime = 3 * time.Minute

// awaitBrokers waits until all of them are there.
func awaitBrokers(ctx context.Context, client *kgo.Client, n int) error {
	return until(ctx, startTime, func(ctx context.Context) error {
		found, err := kadm.NewClient(client).ListBrokers(ctx)
		if err == nil && len(found) != n {
			err = fmt.Errorf("%d of %d brokers are there", len(found), n)
		}
		return err
	})
}

// until asks again until ask finds nothing wrong; its error is the last one when the time is up.
func until(ctx context.Context, within time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 10*time.Second)
		err := ask(once)
		done()
		if err == nil {
			return nil
		}
		if rest(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("after %v: %w", within, err)
		}
	}
}
