package schemadoc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/announce"
)

const created, createdV2 = "users.events.v1.UserCreated", "users.events.v2.UserCreated"

func said(role announce.Role, group string, silent bool, types ...string) Spoken {
	name, _, _ := strings.Cut(group, ".")
	return Spoken{Announcement: announce.Announcement{Role: role, Name: name, Group: group, Types: types}, Silent: silent}
}

// packageOf finds a package, whatever others there are.
func packageOf(t *testing.T, l Listing, name string) Package {
	t.Helper()
	i := slices.IndexFunc(l.Packages, func(p Package) bool { return p.Package == name })
	if i < 0 {
		t.Fatalf("there is no %s in %+v", name, l.Packages)
	}
	return l.Packages[i]
}

func TestTypesHaveThoseWhoDeclareThem(t *testing.T) {
	l := contracts(t, nil).List([]Declared{
		{Role: announce.Publishes, Service: "users", Types: []string{created}},
		{Role: announce.Reads, Service: "directory", Types: []string{created, createdV2}},
		{Role: announce.Reads, Service: "audit", Types: []string{announce.AnyType}},
	}, nil)
	byType := map[string]Type{}
	for i, e := range l.Types {
		if byType[e.Type] = e; i > 0 && e.Type <= l.Types[i-1].Type {
			t.Errorf("%s stands behind %s", e.Type, l.Types[i-1].Type)
		}
	}
	for typ, want := range map[string]string{
		created:                       "users.events.v1 v1 0.1.0 [users] [directory audit]",
		createdV2:                     "users.events.v2 v2 unreleased [] [directory audit]",
		"users.events.v1.UserDeleted": "users.events.v1 v1 0.1.0 [] [audit]",
	} {
		e := byType[typ]
		got := strings.Join([]string{e.Package, e.Version, e.Since, "[" + strings.Join(e.Publishes, " ") + "]", "[" + strings.Join(e.Reads, " ") + "]"}, " ")
		if got != want {
			t.Errorf("%s: %s, want %s", typ, got, want)
		}
	}
	if packageOf(t, l, "users.events.v1").Reads != nil || packageOf(t, l, "users.events.v2").Reads != nil || l.Bus != nil {
		t.Errorf("%+v", l.Packages)
	}
}

func TestAPackageKnowsWhoReadsItOnTheBus(t *testing.T) {
	last := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	moved := said(announce.Reads, "directory.1", false, createdV2)
	moved.Formerly = map[string]time.Time{created: last, "users.events.v1.UserDeleted": last.Add(-time.Hour)}
	stopped := said(announce.Publishes, "users", false, createdV2)
	stopped.Formerly = map[string]time.Time{created: last.Add(time.Hour)} // is no reading
	l := contracts(t, nil).List(nil, &Bus{Spoken: []Spoken{
		stopped, moved, said(announce.Reads, "audit.2", false, announce.AnyType),
		said(announce.Reads, "mailer.3", true, createdV2), said(announce.Reads, "loyalty.4", false, "users.events.v10.X"),
	}})
	v1, v2 := packageOf(t, l, "users.events.v1"), packageOf(t, l, "users.events.v2")
	if v1.NeededBy != nil || strings.Join(v2.NeededBy, " ") != "directory.1 mailer.3" {
		t.Errorf("v1 is needed by %v, v2 by %v", v1.NeededBy, v2.NeededBy)
	}
	if v1.Reads != nil || v1.Silent != nil || v1.Publishes != nil || v1.LastRead == nil || !v1.LastRead.Equal(last) || strings.Join(v1.Any, "") != "audit.2" {
		t.Errorf("%+v", v1)
	}
	if strings.Join(v2.Reads, " ") != "directory.1" || strings.Join(v2.Silent, " ") != "mailer.3" || strings.Join(v2.Publishes, " ") != "users" || v2.LastRead != nil {
		t.Errorf("%+v", v2)
	}
}

// A version that all could do without may be stopped, though their logs still have it.
func TestAVersionIsNeededByWhomItTellsWhatNoOtherDoes(t *testing.T) {
	const updated = "users.events.v1.UserUpdated"
	l := contracts(t, nil).List(nil, &Bus{Spoken: []Spoken{
		said(announce.Reads, "both", false, created, createdV2),
		said(announce.Reads, "half", false, created, createdV2, updated),
		said(announce.Reads, "down", true, created),
		said(announce.Reads, "other", false, created, "loyalty.events.v2.UserCreated", "users.events.v2.sub.UserCreated"),
		said(announce.Publishes, "users", false, createdV2, created), said(announce.Publishes, "before", true, "users.events.v3.UserCreated"),
		said(announce.Reads, "early", false, created, "users.events.v3.UserCreated"),
	}})
	if got := strings.Join(packageOf(t, l, "users.events.v1").NeededBy, " "); got != "half down other early" {
		t.Errorf("needed by %q", got)
	}
}
