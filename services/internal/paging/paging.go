// Package paging is what every List method does the same: page sizes, opaque page tokens, and a total that stays
// cheap. It follows AIP-158.
package paging

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/services/internal/rpcerr"
)

// The rules for page sizes: none given is DefaultSize, a larger one than MaxSize is MaxSize.
const (
	DefaultSize = 50
	MaxSize     = 1000
)

// MaxExactTotal is the largest total that is counted out.
const MaxExactTotal = 10_000

// maxToken bounds a token in bytes: what one decodes to is as long as the longest field in a cursor, at most.
const maxToken = 4096

// tokenVersion changes when older tokens can no longer be read; they are refused then, and a client starts anew.
const tokenVersion = 1

// Request is what the request of a List method has.
type Request interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// Page is the part of a list that a request asks for. C says where a page ends: the columns that the list is
// ordered by, in a struct that survives JSON, such as struct{ Name, ID string }. It is no secret and not
// signed: what a client puts there reaches the store, so use it as a parameter only.
type Page[C any] struct {
	// Size is how many rows the answer may have, 1 to MaxSize. Ask the store for one more, to know whether
	// there is another page.
	Size int
	// After is the cursor given to Next; nil on the first page.
	After *C

	query string
}

// token is what a page token holds, as JSON in base64url.
type token[C any] struct {
	Version int    `json:"v"`
	Query   string `json:"q"` // a hash of the request that it was made for
	Cursor  C      `json:"c"`
}

// Read reads which page is asked for. It returns INVALID_ARGUMENT, with a violation for each field at fault, where
// page_size is negative, or page_token was not made by [Page.Next] for a request of the same type whose other
// fields, page_size excepted, are the same.
func Read[C any](req Request) (Page[C], error) {
	p := Page[C]{Size: int(req.GetPageSize()), query: fingerprint(req)}
	var faults []rpcerr.Violation
	switch {
	case p.Size < 0:
		faults = append(faults, rpcerr.Field("page_size", "%d is negative; pass 1 to %d, or 0 for %d", p.Size, MaxSize, DefaultSize))
	case p.Size == 0:
		p.Size = DefaultSize
	case p.Size > MaxSize:
		p.Size = MaxSize
	}
	if text := req.GetPageToken(); text != "" {
		cursor, err := p.decode(text)
		if err != nil {
			faults = append(faults, rpcerr.Field("page_token", "%v", err))
		}
		p.After = cursor
	}
	if err := rpcerr.InvalidArgument(faults...); err != nil {
		return Page[C]{}, err
	}
	return p, nil
}

// Next returns the token for the page behind last, the cursor of the last row that this page answers with.
func (p Page[C]) Next(last C) (string, error) {
	b, err := json.Marshal(token[C]{Version: tokenVersion, Query: p.query, Cursor: last})
	if err != nil {
		return "", fmt.Errorf("paging: cursor %T: %w", last, err)
	}
	text := base64.RawURLEncoding.EncodeToString(b)
	if len(text) > maxToken {
		return "", fmt.Errorf("paging: cursor %T makes a token of %d bytes; at most %d can be read again", last, len(text), maxToken)
	}
	return text, nil
}

var (
	errNotToken     = errors.New("it is not a token from next_page_token")
	errOtherRelease = errors.New("it was made by another release; list from the start")
	errOtherQuery   = errors.New("it was made for another request: apart from page_size, repeat the request that it came from")
)

func (p Page[C]) decode(text string) (*C, error) {
	if len(text) > maxToken {
		return nil, errNotToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errNotToken
	}
	// Version and query first: another release, or another method, may have another cursor.
	var head token[json.RawMessage]
	switch err := json.Unmarshal(b, &head); {
	case err != nil || head.Version <= 0:
		return nil, errNotToken
	case head.Version != tokenVersion:
		return nil, errOtherRelease
	case head.Query != p.query:
		return nil, errOtherQuery
	}
	cursor := new(C)
	d := json.NewDecoder(bytes.NewReader(head.Cursor))
	d.DisallowUnknownFields()
	if err := d.Decode(cursor); err != nil {
		return nil, errOtherRelease
	}
	return cursor, nil
}

// Total answers total_size: the count where that is MaxExactTotal or less, else an estimate. count counts at most
// limit rows ("SELECT count(*) FROM (SELECT 1 FROM … LIMIT $1)"); estimate is asked only behind that, may be nil,
// and is never answered with less than is known to be there.
func Total(ctx context.Context, count func(ctx context.Context, limit int) (int64, error), estimate func(ctx context.Context) (int64, error)) (int32, error) {
	n, err := count(ctx, MaxExactTotal+1)
	if err == nil && n > MaxExactTotal && estimate != nil {
		var more int64
		more, err = estimate(ctx)
		n = max(n, more)
	}
	if err != nil {
		return 0, fmt.Errorf("paging: total: %w", err)
	}
	return int32(min(n, math.MaxInt32)), nil
}
