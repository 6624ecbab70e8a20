package schemagate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Release freezes the state of proto/ under a version: its descriptor image, and the SHA-256 of every golden event and of
// what was released before. It returns the files that it made, from the top of the checkout.
//
// It refuses a version that is released or is not above the newest, and contracts with changes that no commit has, for
// what is released is what others can look up. A checkout with faults is a *FaultsError.
func (g Gate) Release(ctx context.Context, text string) (files []string, err error) {
	v, err := parseVersion(text)
	if err != nil {
		return nil, err
	}
	versions, err := g.releases()
	if err != nil {
		return nil, err
	}
	if err := checkNext(v, versions); err != nil {
		return nil, err
	}
	if err := g.checkCommitted(ctx); err != nil {
		return nil, err
	}
	// The image that was checked is the one that is written, whatever is saved meanwhile.
	r, image, err := g.check(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.Faults) > 0 {
		return nil, &FaultsError{r.Faults}
	}
	frozen, err := g.frozen()
	if err != nil {
		return nil, err
	}
	delete(frozen, strings.TrimPrefix(v.sums(), protoDir+"/")) // left by a release that was interrupted
	if err := g.replace(v.sums(), frozen.text()); err != nil {
		return nil, err
	}
	if err := g.replace(v.image(), image); err != nil { // the last, for it is what makes a release
		return nil, err
	}
	return []string{v.image(), v.sums()}, nil
}

// checkCommitted refuses contracts with changes that are not committed. Outside a clone there is nothing to ask.
func (g Gate) checkCommitted(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", protoDir, "buf.yaml")
	cmd.Dir, cmd.Env = g.Dir, append(os.Environ(), "LC_ALL=C") // its words are looked at
	output, err := cmd.Output()
	var exit *exec.ExitError
	if errors.Is(err, exec.ErrNotFound) || errors.As(err, &exit) && bytes.Contains(exit.Stderr, []byte("not a git repository")) {
		return ctx.Err()
	}
	if exit != nil {
		return fmt.Errorf("schemagate: git status: %w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return fmt.Errorf("schemagate: git status: %w", err)
	}
	if changed := strings.TrimRight(string(output), "\n"); changed != "" {
		return fmt.Errorf("%s and buf.yaml have changes that are in no commit; commit them first:\n%s", protoDir, changed)
	}
	return nil
}

// replace writes a file whole or not at all.
func (g Gate) replace(name string, b []byte) error {
	path := filepath.Join(g.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that matters is the one before
	}
	return err
}
