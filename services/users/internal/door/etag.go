package door

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// etag is the ETag of a version.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// readPrecondition reads If-Match and If-None-Match. The latter is taken as "*" only (RFC 9110, 13.1.2), which no user
// that is there fulfils; with ETags it is refused, for to pass over it would be to write what was not to be written.
func readPrecondition(h http.Header) (*store.Precondition, error) {
	when, err := readIfMatch(h)
	unless := h.Values("If-None-Match")
	switch {
	case err != nil || len(unless) == 0:
		return when, err
	case strings.Trim(strings.Join(unless, ","), " \t") != "*":
		return nil, newProblem(http.StatusBadRequest, "If-None-Match is taken here as * only; write the version that may be changed as If-Match")
	}
	return &store.Precondition{}, nil
}

// readIfMatch reads If-Match (RFC 9110, 13.1.1): "*", or ETags with commas between them, on one line or several.
// It returns nil where there is none. ETags that are weak, or such as this door never gives, match nothing. What is
// no ETag is a *problem: to pass over it would be to write blindly where the client asked for care.
func readIfMatch(h http.Header) (*store.Precondition, error) {
	lines := h.Values("If-Match")
	if len(lines) == 0 {
		return nil, nil
	}
	value := strings.Join(lines, ",") // several lines are one list
	if strings.Trim(value, " \t") == "*" {
		return &store.Precondition{Any: true}, nil
	}
	if strings.Trim(value, " \t,") == "" {
		return nil, newProblem(http.StatusBadRequest, `If-Match is empty; write the version in quotes: "3"`)
	}
	var p store.Precondition
	rest, tags := value, 0
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" && tags > 0 {
			return &p, nil
		}
		tag, weak, after, ok := cutTag(rest)
		if !ok {
			return nil, newProblem(http.StatusBadRequest, `If-Match is %s, which is no ETag; write the version in quotes: "3"`, shorten(value))
		}
		if v, err := strconv.ParseUint(tag, 10, 64); err == nil && !weak && etag(v) == `"`+tag+`"` {
			p.Versions = append(p.Versions, v)
		}
		rest, tags = after, tags+1
	}
}

// cutTag takes the first ETag off a list: what stands between its quotes, whether W/ stands before them, and the list
// behind it.
func cutTag(list string) (tag string, weak bool, rest string, ok bool) {
	list, weak = strings.CutPrefix(list, "W/")
	list, opened := strings.CutPrefix(list, `"`)
	tag, rest, closed := strings.Cut(list, `"`)
	rest = strings.TrimLeft(rest, " \t")
	return tag, weak, rest, opened && closed && (rest == "" || rest[0] == ',')
}
