package database

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// fileLock keeps a second process from a database file. The system gives it back when the process ends, however it
// ends. It is on a file of its own, for SQLite's locks on the database itself are lost when anybody in the process
// closes that file. The lock's file stays behind when it is released: removing it would let two processes each
// lock a file of that name.
type fileLock struct {
	file *os.File
	free func() error
}

// InUseError says who has a database, or another path that [Lock] was given. It wraps [ErrInUse].
type InUseError struct {
	Path   string
	Holder string // who has it, in brackets behind a space: " (4711)"; empty where that is unknown
	Pass   string // what to pass instead: "another file with --db"
}

// Error names the path and its holder, and says what to do.
func (e *InUseError) Error() string {
	return fmt.Sprintf("%s %v by another process%s; stop it, or pass %s", e.Path, ErrInUse, e.Holder, e.Pass)
}

// Unwrap returns [ErrInUse].
func (e *InUseError) Unwrap() error { return ErrInUse }

// Lock keeps everybody from opening the SQLite file at path until release is called, without opening or making it:
// for whoever removes databases. The folder is made. Its error wraps [ErrInUse] where somebody has the database
// open. It doesn't block. A second release does nothing.
func Lock(path string) (release func() error, err error) {
	l, err := lockFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return l.release, nil
}

// lockFile locks the database file path, or says who has it.
func lockFile(path string) (*fileLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of %s: %w", path, err)
	}
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", path, err)
	}
	if err := flock(f); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &InUseError{Path: path, Holder: holder(f), Pass: "another file with --db"}
		}
		return nil, fmt.Errorf("lock of %s: %w", path, err)
	}
	signHolder(f)
	return &fileLock{file: f, free: sync.OnceValue(f.Close)}, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// signHolder leaves our process id for the message of whoever comes second. Nothing depends on it.
func signHolder(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

func holder(f *os.File) string {
	b, _ := io.ReadAll(io.LimitReader(f, 20))
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil:
		return ""
	case pid == os.Getpid():
		return " (this one, by a service that is still running)"
	}
	return fmt.Sprintf(" (%d)", pid)
}

func (l *fileLock) release() error { return l.free() }

// withRelease gives the lock back and returns err.
func withRelease(l *fileLock, err error) error { return errors.Join(err, l.release()) }
