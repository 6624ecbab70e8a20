package grpcserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidings-dev/tidings/services/internal/rpcerr"
)

// retryAfter is what a caller is told to wait where the database can't answer.
const retryAfter = time.Second

// unary stands around every call with one answer.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	began := time.Now()
	defer func() { err = s.finish(ctx, info.FullMethod, began, err, recover()) }()
	return handler(ctx, req)
}

// stream stands around every streaming call.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	began := time.Now()
	defer func() { err = s.finish(stream.Context(), info.FullMethod, began, err, recover()) }()
	return handler(srv, stream)
}

// finish makes the error that is answered of what a handler returned, or panicked with, and logs what went wrong.
func (s *Server) finish(ctx context.Context, method string, began time.Time, err error, panicked any) error {
	attrs := make([]slog.Attr, 0, 5)
	if panicked != nil {
		err = rpcerr.Internal(fmt.Errorf("panic: %v", panicked))
		attrs = append(attrs, slog.String("stack", string(debug.Stack())))
	}
	answer := s.answer(ctx, err)
	level := levelOf(answer.Code())
	if s.cfg.Log.Enabled(ctx, level) {
		attrs = append(attrs, slog.String("method", method), slog.String("code", answer.Code().String()),
			slog.Duration("duration", time.Since(began)))
		if err != nil {
			attrs = append(attrs, slog.Any("err", err))
		}
		s.cfg.Log.LogAttrs(ctx, level, "call", attrs...)
	}
	return answer.Err()
}

// answer is what the caller is told of err. What carries a status of its own is answered as it is, without the text
// of errors around it; of everything else only the log tells more. A caller who has given up is not told of the database:
// Postgres calls a statement that was cut short so cancelled, by whomever.
func (s *Server) answer(ctx context.Context, err error) *status.Status {
	var coded interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return coded.GRPCStatus()
	case errors.Is(err, context.Canceled):
		return status.FromContextError(context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(context.DeadlineExceeded)
	case s.cfg.Unavailable != nil && s.cfg.Unavailable(err):
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err())
		}
		return status.Convert(rpcerr.Unavailable(retryAfter, err))
	}
	return status.Convert(rpcerr.Internal(err))
}

// levelOf keeps what callers do wrong, or give up, out of the log of a healthy service.
func levelOf(code codes.Code) slog.Level {
	switch code {
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return slog.LevelError
	case codes.Unavailable, codes.ResourceExhausted:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
