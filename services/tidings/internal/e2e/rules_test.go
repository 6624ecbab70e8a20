package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
)

// The first rule: no service depends on another. Each in turn is stopped, and the broker; meanwhile all others answer
// reads, users takes writes, and any process that is started serves.
//
// Where the bus keeps nothing, each reader lacks what was written while it was down, counts that, and has all the rest.
// Of what was written while the broker was away, the outbox keeps everything; who is not back when it is told counts it.
func TestNoServiceDependsOnAnotherOrOnTheBroker(t *testing.T) {
	onServers(t, func(t *testing.T, b server) {
		s := newStack(t, b.wire())
		s.create(t, 0, 20)
		s.agree(t)
		next := 20
		for _, down := range s.all() {
			down.stop(t)
			next = s.goesOn(t, down, next)
			down.start(t)
			s.create(t, next, next+1) // from which a reader learns at once what it missed
			next++
			s.agree(t)
			if down != s.users {
				down.hasMissed(t, s.loses(2*perRound))
			}
		}
		s.kill(t, b)
		s.goesOn(t, nil, next)
		s.back(t, b)
		s.agree(t)
	})
}

// perRound is how many users goesOn makes between two restarts of everything.
const perRound = 5

// goesOn shows that everything but down, and but the broker, works, before and after it was started again. It makes
// users from number next on and returns the first number that is free.
func (s *stack) goesOn(t *testing.T, down *service, next int) int {
	t.Helper()
	for range 2 {
		for _, up := range s.others(down) {
			up.answers(t)
		}
		if down != s.users {
			s.create(t, next, next+perRound)
			next += perRound
		}
		for _, up := range s.others(down) {
			up.restart(t)
		}
	}
	for _, up := range s.others(down) {
		up.answers(t)
	}
	return next
}

// answers fails the test unless the service answers reads.
func (s *service) answers(t *testing.T) {
	t.Helper()
	var err error
	switch s.name {
	case "users":
		_, err = call(t, usersv1.NewUserServiceClient(s.conn).ListUsers, &usersv1.ListUsersRequest{})
	case "directory":
		_, err = call(t, directoryv1.NewDirectoryServiceClient(s.conn).SearchPeople, &directoryv1.SearchPeopleRequest{Query: prefix})
	case "audit":
		_, err = s.history(t, "01976b6c-0000-7000-8000-000000000000")
	default:
		_, err = s.messages(t, 0)
	}
	if err != nil {
		t.Fatalf("%s does not answer: %v", s.name, err)
	}
}

// The second rule: each service has its own database. What the processes hold open says so.
func TestNoTwoServicesOpenTheSameFile(t *testing.T) {
	onEmbedded(t, func(t *testing.T, b *embeddedServer) {
		s := newStack(t, b.wire())
		s.create(t, 0, 5)
		s.agree(t)
		owner := map[string]string{}
		for _, one := range s.all() {
			files := one.process.openFiles(t, s.dir)
			if len(files) == 0 {
				t.Errorf("%s has no file open in %s", one.name, s.dir)
			}
			for _, file := range files {
				if other, taken := owner[file]; taken && other != one.name {
					t.Errorf("%s and %s both have %s open", other, one.name, file)
				}
				owner[file] = one.name
			}
		}
	})
}

// On Postgres the four may be given one database: each keeps to a schema of its own, and to no other.
func TestNoTwoServicesShareASchema(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	s := newStack(t, startEmbedded(t, kinds[0]).wire().onPostgres(t))
	s.create(t, 0, 5)
	s.agree(t)
	for _, one := range s.all() {
		if owner := one.ask(t, `SELECT service FROM `+one.name+`.service_owner`); owner != one.name {
			t.Errorf("schema %s belongs to %s", one.name, owner)
		}
	}
	const strange = `SELECT count(*) FROM pg_catalog.pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'users', 'directory', 'audit', 'mailer')`
	if n := s.users.ask(t, strange); n != "0" {
		t.Errorf("%s tables stand outside of the services' schemas", n)
	}
	second := start(t, binary(t, "audit"), s.environment(), "--bus="+s.url, "--topic="+s.audit.topic,
		"--db="+s.server+"&schema=directory", "--listen="+ownAddress(t, 1))
	const want = "is in use by the service directory"
	if code := second.wait(t, startTime); code != 1 || !strings.Contains(second.out.String(), want) {
		t.Errorf("an audit on the directory's schema: exit %d, %q; want %q", code, second.out.String(), want)
	}
}

// The third rule: services speak by event only. Whom the processes are connected to says so.
func TestServicesDialNothingButTheBroker(t *testing.T) {
	onEmbedded(t, func(t *testing.T, b *embeddedServer) { newStack(t, b.wire()).dialOnly(t, b.addr) })
	t.Run("and Postgres", func(t *testing.T) {
		needPostgres(t)
		t.Parallel()
		b := startEmbedded(t, kinds[0])
		s := newStack(t, b.wire().onPostgres(t))
		at, err := url.Parse(s.server)
		if err != nil {
			t.Fatal(err)
		}
		s.dialOnly(t, b.addr, at.Host)
	})
}

// dialOnly fails the test unless every process, after some work, is connected to all of these, and to nobody else.
func (s *stack) dialOnly(t *testing.T, allowed ...string) {
	t.Helper()
	s.create(t, 0, 5)
	s.agree(t)
	for _, one := range s.all() {
		peers := one.process.dialled(t)
		slices.Sort(peers)
		if slices.Sort(allowed); !slices.Equal(peers, allowed) {
			t.Errorf("%s is connected to %v, want %v", one.name, peers, allowed)
		}
	}
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Imports    []string
}

const module = "github.com/tidings-dev/tidings/"

// The layout says so too: no service imports another's packages or generated client. The events of users are the one
// thing that they share; tidings, which starts them all, is excepted.
func TestNoServiceImportsAnother(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./services/...", "./bus/...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		at := strings.Split(strings.TrimPrefix(p.ImportPath, module), "/")
		if len(at) > 1 {
			seen[at[0]+"/"+at[1]] = true
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, module); ours && !mayImport(at, to) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
	for _, name := range []string{"users", "directory", "audit", "mailer"} {
		if !seen["services/"+name] {
			t.Errorf("service %s was not looked at", name)
		}
	}
}

// sharedEvents are the events of users, in every version: what services share, for it is their contract.
const sharedEvents = "gen/users/events/"

// mayImport reports whether a package, given by the parts of its path, may import another of this module.
func mayImport(at []string, to string) bool {
	if at[0] == "bus" {
		return strings.HasPrefix(to, "bus")
	}
	if strings.Join(at, "/") == "services/internal/servicetest" {
		return !strings.HasPrefix(to, "gen/") || strings.HasPrefix(to, sharedEvents) // of tests, which may run a broker
	}
	name := at[1] // of services/<name>
	switch parts := strings.Split(to, "/"); {
	case name == "tidings" || parts[0] == "bus" && (len(parts) < 2 || parts[1] != "embedded"):
		return true
	case parts[0] == "services":
		return parts[1] == name || parts[1] == "internal"
	case parts[0] == "gen":
		return parts[1] == name || strings.HasPrefix(to, sharedEvents)
	}
	return false
}

// A write is answered on its own commit: with the broker gone, and never there since the start, too.
func TestWritesAreAnsweredWithoutABroker(t *testing.T) {
	onEmbedded(t, func(t *testing.T, b *embeddedServer) {
		s := emptyStack(t, b.wire())
		b.process.kill()
		s.users.start(t)
		ids := s.create(t, 0, 50)
		s.rename(t, ids[0], "Another Name")
		s.remove(t, ids[1])
		if code, _, _ := s.users.write(t, http.MethodPatch, ids[1], map[string]string{"name": "Nobody"}); code != http.StatusNotFound {
			t.Errorf("PATCH of a deleted user: %d, want 404", code)
		}
		s.ownerHas(t, s.ledger.all())
		if got := len(s.owned(t)); got != 49 {
			t.Errorf("users has %d users, want 49", got)
		}
	})
}

// openFiles are the files that the process has open below dir.
func (p *process) openFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	for _, target := range p.descriptors(t) {
		if strings.HasPrefix(target, dir+string(filepath.Separator)) {
			files = append(files, target)
		}
	}
	return files
}

// descriptors is what the process's file descriptors point to.
func (p *process) descriptors(t *testing.T) []string {
	t.Helper()
	links, err := filepath.Glob(filepath.Join(procDir(p), "fd", "*"))
	if err != nil || len(links) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI is true and there is no /proc/…/fd on this system: %v", err)
		}
		t.Skipf("no /proc/…/fd on this system: %v", err)
	}
	var targets []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil { // else it was closed meanwhile
			targets = append(targets, target)
		}
	}
	return targets
}
