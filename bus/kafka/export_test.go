package kafka

import "time"

// BackWithin shortens the time that a member which was thrown out may be without partitions.
func BackWithin(d time.Duration) Option {
	return func(b *backend) { b.backWithin = d }
}
