package soak

import (
	"reflect"
	"testing"
	"time"
)

// everything is a platform on which every fault is possible.
func everything() Targets {
	two := []string{"users-1", "directory-1"}
	all := Targets{}
	for _, t := range traits {
		all[t.fault] = two
	}
	all[KillBroker] = []string{"kafka-1", "kafka-2", "kafka-3"}
	return all
}

func TestASeedRepeatsItsPlan(t *testing.T) {
	one, again, other := NewPlan(7, time.Minute, everything()), NewPlan(7, time.Minute, everything()), NewPlan(8, time.Minute, everything())
	if !reflect.DeepEqual(one, again) {
		t.Errorf("the seed 7 makes\n%vand\n%v", one, again)
	}
	if reflect.DeepEqual(one, other) {
		t.Errorf("the seeds 7 and 8 both make\n%v", one)
	}
}

func TestEveryFaultComesAndNoneOverlapsOnItsTarget(t *testing.T) {
	for seed := range uint64(50) {
		plan := NewPlan(seed, time.Minute, everything())
		seen := map[Fault]bool{}
		until := map[string]time.Duration{}
		for i, s := range plan {
			seen[s.Fault] = true
			own := s.Target
			for _, t := range traits {
				if t.fault == s.Fault && t.alone != "" {
					own = t.alone
				}
			}
			if until[own] > s.At {
				t.Errorf("seed %d: %v begins before the one before on %s is over, at %v", seed, s, own, until[own])
			}
			until[own] = s.At + s.For
			if s.At+s.For > time.Minute || i > 0 && s.At < plan[i-1].At {
				t.Errorf("seed %d: %v is out of time", seed, s)
			}
		}
		if len(seen) != len(traits) {
			t.Errorf("seed %d: %d faults of %d:\n%v", seed, len(seen), len(traits), plan)
		}
	}
}

func TestAFaultWithoutATargetIsInNoPlan(t *testing.T) {
	targets := everything()
	delete(targets, EndSessions)
	for _, s := range NewPlan(1, time.Minute, targets) {
		if s.Fault == EndSessions {
			t.Errorf("%v", s)
		}
	}
	if p := NewPlan(1, time.Minute, nil); len(p) != 0 {
		t.Errorf("nothing can be befallen, and the plan is\n%v", p)
	}
}
