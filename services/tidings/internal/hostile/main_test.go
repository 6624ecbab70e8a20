package hostile

import (
	"context"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		os.Exit(child())
	}
	servicetest.Main(m)
}

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// produce writes records as they are, and waits until all are stored.
func produce(t *testing.T, url string, records iter.Seq[*kgo.Record]) {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "kafka://"), "?")
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(host, ",")...), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(20_000), kgo.MaxBufferedBytes(64<<20), kgo.ProducerLinger(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	failed := make(chan error, 1)
	for r := range records {
		c.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}
