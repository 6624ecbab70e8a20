package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/twmb/franz-go/pkg/kerr"
)

// DeleteTopics deletes topics with all that they hold, for ever, from the cluster at rawURL: a kafka:// address as
// [bus.Open] takes it, its parameters included. It is for what a program made for itself alone, such as an experiment
// that cleans up; nothing of the bus deletes a topic.
//
// It blocks until the broker has taken the request, through an outage too, or ctx ends; the topics may be seen for a
// moment longer. One that doesn't exist counts as deleted. The error names every topic that the broker refuses to
// delete, and the others are deleted all the same.
func DeleteTopics(ctx context.Context, rawURL string, topics ...string) error {
	set, err := deletion(rawURL, topics)
	if err != nil {
		return fmt.Errorf("bus: delete topics: %w", err)
	}
	if len(topics) == 0 {
		return nil
	}
	a, err := newAdmin(set, newThrottle(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("bus: delete topics: %w", err)
	}
	defer a.close()
	err = a.insist(ctx, "delete", func(ctx context.Context) error { return a.deleteTopics(ctx, topics) })
	if err != nil {
		return fmt.Errorf("bus: delete topics: %w", err)
	}
	return nil
}

// deletion checks what is asked for before anything is deleted.
func deletion(rawURL string, topics []string) (settings, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return settings{}, errors.New("the address is no URL") // which may hold a secret, so it isn't repeated
	}
	if u.Scheme != scheme {
		return settings{}, fmt.Errorf("%s is no address of Kafka; write %s://host:9092", u.Redacted(), scheme)
	}
	set, err := parseSettings(u)
	faults := []error{err}
	for _, name := range topics {
		faults = append(faults, checkName(name))
	}
	return set, errors.Join(faults...)
}

// deleteTopics asks once.
func (a *admin) deleteTopics(ctx context.Context, topics []string) error {
	answers, err := a.adm.DeleteTopics(ctx, topics...)
	if err != nil {
		return err
	}
	var again, refused []error
	for _, t := range answers.Sorted() {
		switch {
		case t.Err == nil, errors.Is(t.Err, kerr.UnknownTopicOrPartition):
		case kerr.IsRetriable(t.Err):
			again = append(again, fmt.Errorf("topic %q: %w", t.Topic, t.Err))
		default:
			refused = append(refused, fmt.Errorf("topic %q: %w", t.Topic, t.Err))
		}
	}
	if len(again) > 0 {
		return errors.Join(append(again, refused...)...)
	}
	if len(refused) > 0 {
		return errPermanent{errors.Join(refused...)}
	}
	return nil
}
