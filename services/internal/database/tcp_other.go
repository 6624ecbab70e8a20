//go:build !linux

package database

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing where there is no such option: keep-alives have to do there.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
