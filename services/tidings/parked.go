package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// parkedCommand is about events that a service could not take.
type parkedCommand struct {
	Ls      parkedLs      `cmd:"" help:"List the events that services could not take."`
	Show    parkedShow    `cmd:"" help:"Show one of them: what is in it, why it was not taken, and what waits behind it."`
	Retry   parkedRetry   `cmd:"" help:"Have events tried again now, with all their tries before them."`
	Discard parkedDiscard `cmd:"" help:"Give an event up for good. A record of it stays."`
}

// parking opens what is parked in a service's database. Close the database that comes with it.
func (f *databaseFlags) parking(ctx context.Context, service string) (*inbox.Parking, *database.DB, error) {
	db, err := f.open(ctx, service)
	if err != nil {
		return nil, nil, err
	}
	p, err := inbox.OpenParking(ctx, db.DB)
	if err != nil {
		_ = db.Close() // the error that matters is the one before
		return nil, nil, fmt.Errorf("%s: %w", db.Name(), err)
	}
	return p, db, nil
}

// rowID names a parked event: ids are those of one database, so the service stands in front.
type rowID struct {
	service string
	id      int64
}

// String is what `parked ls` prints, and other commands take.
func (r rowID) String() string { return r.service + "/" + strconv.FormatInt(r.id, 10) }

// rowOf reads "directory/12", or "12" where --db says in which database.
func (f *databaseFlags) rowOf(text string) (r rowID, err error) {
	number := text
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		r.service, number = text[:i], text[i+1:]
	}
	r.id, err = strconv.ParseInt(number, 10, 64)
	if err != nil || r.id < 1 || r.service == "" && f.DB == "" || r.service == "" && strings.Contains(text, "/") {
		return r, config.Usage("%q: pass an id as `tidings parked ls` prints it, such as directory/12", text)
	}
	if r.service == "" {
		return r, nil
	}
	return r, f.checkReader(r.service)
}

// row is a parked event, and where it is. Close db when done with it.
type row struct {
	inbox.ParkedEvent
	*inbox.Parking
	db *database.DB
}

func (r row) close() { _ = r.db.Close() } // what was written is committed

// row opens the database of a parked event, and reads it.
func (f *databaseFlags) row(ctx context.Context, text string) (r row, err error) {
	id, err := f.rowOf(text)
	if err != nil {
		return r, err
	}
	if r.Parking, r.db, err = f.parking(ctx, id.service); err != nil {
		return r, err
	}
	r.ParkedEvent, err = r.Get(ctx, id.id)
	if err == nil && id.service != "" && id.service != r.Group { // an id alone says too little
		err = fmt.Errorf("%v: in this database it is an event of %s, and not of %s", id, r.Group, id.service)
	}
	if err != nil {
		r.close()
	}
	return r, err
}

// each calls fn with what is parked in the database of one service; of all of them where none is named, as far as they
// have one.
func (f *databaseFlags) each(ctx context.Context, service string, fn func(p *inbox.Parking, service string) error) error {
	var names []string
	if service != "" {
		if err := f.checkReader(service); err != nil {
			return err
		}
		names = []string{service}
	} else {
		for _, r := range readers {
			names = append(names, r.name)
		}
	}
	var missing error
	there := 0
	for _, name := range names {
		p, db, err := f.parking(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			missing = err
			continue
		}
		if err != nil {
			return err
		}
		there++
		if err := errors.Join(fn(p, name), db.Close()); err != nil {
			return err
		}
	}
	if there == 0 {
		return missing
	}
	return nil
}

// pageSize is how many rows are read at a time.
const pageSize = 1000

// list calls fn for every row that f takes, page by page.
func list(ctx context.Context, p *inbox.Parking, f inbox.Filter, fn func(inbox.ParkedEvent) error) error {
	f.Limit = pageSize
	for {
		rows, err := p.List(ctx, f)
		if err != nil {
			return err
		}
		for _, e := range rows {
			if err := fn(e); err != nil {
				return err
			}
		}
		if len(rows) < pageSize {
			return nil
		}
		f.After = rows[len(rows)-1].ID
	}
}

type parkedRetry struct {
	IDs []string `arg:"" optional:"" name:"id" help:"As parked ls prints it: directory/12. With --all: of which services."`
	databaseFlags
	All bool `help:"All that is parked." env:"-"`
}

// Validate is called by the parser.
func (c *parkedRetry) Validate() error {
	if len(c.IDs) == 0 && !c.All {
		return errors.New("pass ids as `tidings parked ls` prints them, or --all")
	}
	return nil
}

func (c *parkedRetry) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	n, err := 0, error(nil)
	if c.All {
		n, err = c.retryAll(ctx)
	} else {
		n, err = c.retryEach(ctx)
	}
	if n > 0 || err == nil {
		fmt.Fprintf(in.Stdout, "%s to be tried again, at once where the service runs\n", areOf(n))
	}
	return err
}

func areOf(n int) string {
	if n == 1 {
		return "1 event is"
	}
	return fmt.Sprint(n, " events are")
}

// retryEach retries the rows that are named. Each is for itself: one that can't be tried again keeps back no other.
func (c *parkedRetry) retryEach(ctx context.Context) (n int, err error) {
	for _, text := range c.IDs { // what is typed wrong is told before anything is done
		if _, err := c.rowOf(text); err != nil {
			return 0, err
		}
	}
	var faults []error
	for _, text := range c.IDs {
		r, err := c.row(ctx, text)
		if err == nil {
			_, err = r.Retry(ctx, r.ID)
			r.close()
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		n++
	}
	return n, joined(faults)
}

// retryAll retries what is parked, but for what waits behind another, which follows by itself, and what is no event.
func (c *parkedRetry) retryAll(ctx context.Context) (n int, err error) {
	if len(c.IDs) == 0 {
		c.IDs = []string{""} // every service
	}
	var left []error
	for _, service := range c.IDs {
		err := c.each(ctx, service, func(p *inbox.Parking, service string) error {
			return list(ctx, p, inbox.Filter{Group: service}, func(e inbox.ParkedEvent) error {
				_, err := p.Retry(ctx, e.ID)
				switch {
				case err == nil:
					n++
				case errors.Is(err, inbox.ErrNoEvent):
					left = append(left, fmt.Errorf("%v: %w; discard it", rowID{service, e.ID}, inbox.ErrNoEvent))
				case !errors.Is(err, inbox.ErrBehind) && !errors.Is(err, inbox.ErrNotParked): // taken meanwhile
					return err
				}
				return nil
			})
		})
		if err != nil {
			return n, err
		}
	}
	return n, joined(left)
}

// joined makes one line of errors.
func joined(faults []error) error {
	if len(faults) < 2 {
		return errors.Join(faults...)
	}
	texts := make([]string, len(faults))
	for i, err := range faults {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

type parkedDiscard struct {
	ID string `arg:"" help:"As parked ls prints it: directory/12."`
	databaseFlags
	Why string `help:"Why it is given up, for whoever asks later. It must be given." placeholder:"TEXT" env:"-"`
}

// Validate is called by the parser.
func (c *parkedDiscard) Validate() error {
	if strings.TrimSpace(c.Why) == "" {
		return errors.New("--why is missing: say for whoever asks later why the event is given up")
	}
	return nil
}

func (c *parkedDiscard) run(ctx context.Context, in program.IO, _ *kong.Context) error {
	r, err := c.row(ctx, c.ID)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.Discard(ctx, r.ID, c.Why); err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.Stdout, "%v is discarded; `tidings parked ls --discarded` lists it\n", rowID{r.Group, r.ID})
	return err
}
