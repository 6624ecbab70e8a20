package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Which kind of group a broker serves decides how its consumers read for ever, so it must not be taken for the old kind
// only because it has just been started.
func TestWhatABrokerSaysOfGroups(t *testing.T) {
	answer := func(supported bool, epoch int64, level int16) *kmsg.ApiVersionsResponse {
		v := kmsg.NewPtrApiVersionsResponse()
		v.FinalizedFeaturesEpoch = epoch
		if supported {
			v.SupportedFeatures = append(v.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: groupVersion, MaxVersion: 1})
		}
		if level >= 0 {
			v.FinalizedFeatures = append(v.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: groupVersion, MaxVersionLevel: level})
		}
		return v
	}
	for _, c := range []struct {
		name           string
		v              *kmsg.ApiVersionsResponse
		on, unanswered bool
	}{
		{"it is on", answer(true, 7, 1), true, false},
		{"it is off", answer(true, 7, 0), false, false},
		{"it was never switched on", answer(true, 7, -1), false, false},
		{"the controller was not heard yet", answer(true, -1, -1), false, true},
		{"nothing is said of it", answer(false, -1, -1), true, false},
	} {
		on, err := groupsOn(c.v)
		if on != c.on || (err != nil) != c.unanswered {
			t.Errorf("%s: %v, %v", c.name, on, err)
		}
	}
}
