package config

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// hidden stands where a secret was.
const hidden = "xxxxx"

// Settings returns the effective value of every flag of the command that was parsed, in the order of --help, with
// secrets hidden: what [Redact] finds, and every flag whose field has the tag secret.
func Settings(ctx *kong.Context) []slog.Attr {
	var attrs []slog.Attr
	for _, flag := range ctx.Flags() {
		if flag.Name == "help" || flag.Name == "version" {
			continue
		}
		value := Redact(fmt.Sprint(flag.Target.Interface()))
		if flag.Tag.Has("secret") && value != "" {
			value = hidden
		}
		attrs = append(attrs, slog.String(flag.Name, value))
	}
	return attrs
}

var (
	// userinfo reaches to the last @, for a password that was not escaped may hold one too.
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s]*@`)
	// assignments take the forms of URL parameters and of Postgres' key=value strings.
	assignments = regexp.MustCompile(`(?i)([a-z_.]*(?:password|passwd|secret|token)[a-z_.]*\s*=\s*)('[^']*'|[^\s&]+)`)
)

// Redact hides what may be a secret in an address or a DSN: whatever stands before the @ of a URL, and the value
// of every parameter whose name has password, passwd, secret or token in it.
func Redact(s string) string {
	if !strings.HasPrefix(s, "file:") && !strings.HasPrefix(s, "sqlite:") {
		s = userinfo.ReplaceAllString(s, "${1}"+hidden+"@")
	}
	return assignments.ReplaceAllString(s, "${1}"+hidden)
}

// NewLogger makes the logger for --log-format, "text" or "json", and --log-level.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Version says what this program was built from: the module's version, which `go build` takes from the repository,
// "devel" where there is none (as with `go run`), then the compiler and the platform.
func Version() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	return fmt.Sprintf("%s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
