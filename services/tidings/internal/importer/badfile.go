package importer

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// badFile is the file of bad rows: each with its line, the reason, and what was read of it, so that it can be mended
// and imported. raw is the row as it stood in the input, where email and name could not be told. It is not safe for
// concurrent use.
type badFile struct {
	path string
	file io.Closer
	csv  *csv.Writer
}

// badHeader is the first line, and what such a file is known by.
const badHeader = "line,reason,email,name,raw"

func (b *badFile) write(row Row, reason string) error {
	if b.path == "" {
		return nil
	}
	if b.csv == nil {
		f, err := os.Create(b.path)
		if err != nil {
			return fmt.Errorf("file of bad rows: %w", err)
		}
		b.file, b.csv = f, csv.NewWriter(f)
		if err := b.csv.Write(strings.Split(badHeader, ",")); err != nil {
			return fmt.Errorf("file of bad rows: %w", err)
		}
	}
	if err := b.csv.Write([]string{strconv.Itoa(row.Line), reason, row.Email, row.Name, row.Raw}); err != nil {
		return fmt.Errorf("file of bad rows: %w", err)
	}
	return nil
}

func (b *badFile) close() error {
	if b.csv == nil {
		return nil
	}
	b.csv.Flush()
	if err := errors.Join(b.csv.Error(), b.file.Close()); err != nil {
		return fmt.Errorf("file of bad rows: %w", err)
	}
	return nil
}

// removeStale removes the file if this run has written none: it would be taken for this run's. What no import has
// written stays.
func (b *badFile) removeStale() error {
	if b.path == "" || b.csv != nil || !isBadFile(b.path) {
		return nil
	}
	if err := os.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("file of bad rows, of an earlier run: %w", err)
	}
	return nil
}

func isBadFile(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	first, _ := bufio.NewReader(io.LimitReader(f, int64(len(badHeader)+1))).ReadString('\n')
	return first == badHeader+"\n"
}
