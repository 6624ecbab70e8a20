package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"

	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
)

// paged answers searches from a list, in pages.
type paged struct {
	directoryv1.UnimplementedDirectoryServiceServer
	addresses []string
	failAt    int // the page that can't be read; 0 is none
	asked     int
}

func (p *paged) SearchPeople(_ context.Context, in *directoryv1.SearchPeopleRequest) (*directoryv1.SearchPeopleResponse, error) {
	if p.asked++; p.asked == p.failAt {
		return nil, errors.New("disk")
	}
	from, _ := strconv.Atoi(in.GetPageToken()) // "" is 0
	to := min(from+int(in.GetPageSize()), len(p.addresses))
	page := &directoryv1.SearchPeopleResponse{}
	for _, a := range p.addresses[from:to] {
		if !strings.HasPrefix(a, in.GetQuery()) {
			return nil, fmt.Errorf("asked for %q", in.GetQuery())
		}
		page.People = append(page.People, &directoryv1.Person{Email: a})
	}
	if to < len(p.addresses) {
		page.NextPageToken = strconv.Itoa(to)
	}
	return page, nil
}

// serve serves p until the test ends, and returns where.
func serve(t *testing.T, p *paged) string {
	t.Helper()
	l, err := net.Listen("tcp", freePort)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	directoryv1.RegisterDirectoryServiceServer(srv, p)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func addresses(first, last int) []string {
	var all []string
	for i := first; i <= last; i++ {
		all = append(all, address(i))
	}
	return all
}

func TestWhoIsHeldIsCountedOverAllPages(t *testing.T) {
	for name, c := range map[string]struct {
		holds   []string
		written int
		want    int
	}{
		"nobody":                           {nil, 10, 0},
		"everybody, one page":              {addresses(1, 1000), 1000, 1000},
		"everybody, three pages":           {addresses(1, 2500), 2500, 2500},
		"the second half":                  {addresses(1251, 2500), 2500, 1250},
		"a stranger makes up for nobody":   {append(addresses(2, 10), address(11), prefix+"x@example.com"), 10, 9},
		"somebody twice is there but once": {append(addresses(1, 9), address(9)), 10, 9},
		"before anything was written":      {addresses(1, 3), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stage{written: c.written}
			got, err := s.held(t.Context(), serve(t, &paged{addresses: c.holds}))
			if err != nil || got != c.want {
				t.Errorf("held %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

func TestAPageThatCannotBeReadIsNoAnswer(t *testing.T) {
	s := &stage{written: 2500}
	got, err := s.held(t.Context(), serve(t, &paged{addresses: addresses(1, 2500), failAt: 2}))
	if err == nil || got != 0 || !strings.Contains(err.Error(), "what directory holds") {
		t.Errorf("held %d, %v", got, err)
	}
}

func TestPeopleGoOnWhereTheLastOnesEnded(t *testing.T) {
	seen, names := map[string]bool{}, map[string]bool{}
	for _, first := range []int{1, 101} {
		for row, err := range people(first, 100) {
			if err != nil || row.Err != nil || row.Name == "" {
				t.Fatalf("%+v, %v", row, err)
			}
			seen[row.Email], names[row.Name] = true, true
			if strings.HasPrefix(strings.ToLower(row.Name), prefix) {
				t.Errorf("%s would be found by name", row.Name)
			}
		}
	}
	for _, a := range addresses(1, 200) {
		if !seen[a] {
			t.Errorf("%s was not made up", a)
		}
	}
	if len(seen) != 200 || len(names) < 50 {
		t.Errorf("%d addresses and %d names", len(seen), len(names))
	}
	for row := range people(1, 100) {
		if row.Email != address(1) {
			t.Errorf("began with %s", row.Email)
		}
		break // whoever reads them may stop
	}
}
