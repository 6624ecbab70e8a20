package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync"
)

// maxStatements bounds the prepared statements kept. Multi-row statements have a text for each number of rows.
const maxStatements = 512

// holder owns the writer's connection while somebody holds it.
type holder struct {
	db *sql.DB

	mu    sync.Mutex
	holds int   // leaders, and callers of Hold
	conn  *conn // taken at the first need, given back with the last hold
}

// hold keeps the connection that is there, or will be.
func (h *holder) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds++
}

// release gives the connection back when nobody else holds it.
func (h *holder) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holds--; h.holds == 0 && h.conn != nil {
		h.conn.close()
		h.conn = nil
	}
}

// get returns the connection, taking one from the pool at need. Only the leader calls it, and holds.
func (h *holder) get(ctx context.Context) (*conn, error) {
	if c := h.held(); c != nil {
		c.trim()
		return c, nil
	}
	sc, err := h.db.Conn(ctx) // may wait, so not under the lock
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = &conn{c: sc, statements: make(map[string]*statement)}
	return h.conn, nil
}

// held is the connection in hand, or nil.
func (h *holder) held() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conn
}

// rollback rolls back if there is still something to roll back. A connection where that fails, or that is gone, is
// thrown away: it could never begin again.
func (h *holder) rollback(c *conn) {
	if ended, err := c.autocommit(); ended && err == nil {
		return
	}
	err := c.exec("ROLLBACK")
	if ended, gone := c.autocommit(); gone == nil && (ended || err == nil) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.discard()
	h.conn = nil
}

// conn is a connection with its prepared statements. One goroutine uses it at a time.
type conn struct {
	c          *sql.Conn // from the pool
	statements map[string]*statement
	open       []func() // closes what the running transaction has handed out
}

// statement is prepared for one connection.
type statement struct {
	*sql.Stmt
	reader *connTx   // who queried it last
	rows   *sql.Rows // what that gave; nil when it was a single row
}

// free reports whether t may query it. Where t did so before, its rows may still be read, and would be reset.
func (s *statement) free(t *connTx) bool {
	if s.reader != t {
		return true
	}
	if s.rows == nil {
		return false // nobody can tell whether a sql.Row was scanned
	}
	_, closed := s.rows.Columns()
	return closed != nil
}

// background is the context of every statement: the driver starts a goroutine for each call whose context can
// end, which costs five times the statement itself. The caller's context is looked at between statements.
func background(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// exec executes a statement that controls transactions.
func (c *conn) exec(query string) error {
	s, err := c.prepared(context.Background(), query)
	if err == nil && s != nil {
		_, err = s.ExecContext(context.Background())
	} else if err == nil {
		_, err = c.c.ExecContext(context.Background(), query)
	}
	return err
}

// ended reports whether no transaction is open, because the database has ended it by itself, as SQLite does on a
// full disk, or because the connection is gone.
func (c *conn) ended() bool {
	ended, err := c.autocommit()
	return ended || err != nil
}

// autocommit asks the driver whether no transaction is open.
func (c *conn) autocommit() (is bool, err error) {
	err = c.c.Raw(func(d any) error {
		if s, ok := d.(interface{ AutoCommit() bool }); ok {
			is = s.AutoCommit()
		}
		return nil
	})
	return is, err
}

// prepared returns the statement of a text, or nil where it can't be kept: there are too many, or the text holds
// several statements, of which only the first would be prepared.
func (c *conn) prepared(ctx context.Context, query string) (*statement, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	if len(c.statements) >= maxStatements || strings.Contains(strings.TrimRight(query, "; \t\r\n"), ";") {
		return nil, nil
	}
	s, err := c.c.PrepareContext(background(ctx), query)
	if err != nil {
		return nil, err
	}
	c.statements[query] = &statement{Stmt: s}
	return c.statements[query], nil
}

// trim forgets all statements once there are too many, between transactions.
func (c *conn) trim() {
	if len(c.statements) >= maxStatements {
		c.forget()
	}
}

// forget closes all statements.
func (c *conn) forget() {
	for _, s := range c.statements {
		_ = s.Close() // it has no rows open, and that is all that could fail
	}
	clear(c.statements)
}

// close gives the connection back to the pool.
func (c *conn) close() {
	c.forget()
	_ = c.c.Close()
}

// discard closes the connection for good.
func (c *conn) discard() {
	c.forget()
	_ = c.c.Raw(func(any) error { return driver.ErrBadConn })
}
