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
// and imported. raw is the row as it stood in the input, where its fields could not be told. It is not safe for
// concurrent use.
type badFile struct {
	path string
	file io.Closer
	csv  *csv.Writer
}

// badHeader returns the first line, which such a file is known by: with the fields that there are, for a bad row that was
// mended is to be imported whole.
func badHeader() []string {
	header := []string{"line", "reason"}
	for _, f := range fields() {
		header = append(header, f.column())
	}
	return append(header, "raw")
}

// oldBadHeader is the first line as 0.1.0 wrote it.
const oldBadHeader = "line,reason,email,name,raw"

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
		if err := b.csv.Write(badHeader()); err != nil {
			return fmt.Errorf("file of bad rows: %w", err)
		}
	}
	record := []string{strconv.Itoa(row.Line), reason}
	for _, f := range fields() {
		record = append(record, *f.of(&row))
	}
	if err := b.csv.Write(append(record, row.Raw)); err != nil {
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
	header := strings.Join(badHeader(), ",")
	first, _ := bufio.NewReader(io.LimitReader(f, int64(len(header)+1))).ReadString('\n')
	return first == header+"\n" || first == oldBadHeader+"\n"
}
