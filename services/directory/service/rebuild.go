package service

import (
	"context"
	"database/sql"

	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/directory/internal/store"
)

// Rebuild empties the directory that db holds, and has it read the log again from its start, for `tidings rebuild`. The
// directory may be running; it answers with whom it knows again so far until the log is read. A person whose events the
// log has dropped is lost.
func Rebuild(ctx context.Context, db *sql.DB) error {
	return inbox.Rebuild(ctx, db, group, func(ctx context.Context, tx inbox.Tx) error { return store.Empty(ctx, tx) })
}
