package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen listens on the TCP address that flag was given. Its error names the flag:
//
//	--listen 127.0.0.1:8482 is in use; stop the other process or pass --listen
func Listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &listenError{flag, address, err}
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	}
	return l, nil
}

// listenError says in one line what the system's error says in four.
type listenError struct {
	flag, address string
	err           error
}

func (e *listenError) Error() string {
	return fmt.Sprintf("%s %s is in use; stop the other process or pass %s", e.flag, e.address, e.flag)
}

func (e *listenError) Unwrap() error { return e.err }
