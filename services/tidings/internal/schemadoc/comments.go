package schemadoc

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Declarations, as buf lays them out, which the gate insists on: one a line, its comment in the lines above.
var (
	scopeLine = regexp.MustCompile(`^(message|enum|service|oneof) (\w+) \{`)
	rpcLine   = regexp.MustCompile(`^rpc (\w+)\(`)
	fieldLine = regexp.MustCompile(`^(?:optional |repeated )?(?:map<[^>]*>|[\w.]+) (\w+) = \d+`)
	valueLine = regexp.MustCompile(`^(\w+) = -?\d+`)
)

// scope is what braces stand around.
type scope struct {
	kind string // as it is declared; "" for the body of an RPC
	name protoreflect.FullName
}

// reader goes through a .proto file.
type reader struct {
	into    map[protoreflect.FullName]string
	scopes  []scope
	comment []string
}

// readComments notes what stands before each declaration of a file. Descriptors that are linked into a program have no
// comments, and one that reads a .proto file whole would be a parser.
func readComments(into map[protoreflect.FullName]string, pkg protoreflect.FullName, text string) {
	r := reader{into: into, scopes: []scope{{"package", pkg}}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "//"); ok {
			r.comment = append(r.comment, strings.TrimPrefix(comment, " "))
			continue
		}
		r.declaration(line)
		r.comment = nil
	}
}

// declaration takes a line that is no comment.
func (r *reader) declaration(line string) {
	in := r.scopes[len(r.scopes)-1]
	opens := strings.HasSuffix(line, "{")
	switch found := scopeLine.FindStringSubmatch(line); {
	case line == "}" && len(r.scopes) > 1:
		r.scopes = r.scopes[:len(r.scopes)-1]
	case found != nil:
		name := r.note(in.name, found[2])
		if found[1] == "oneof" {
			name = in.name // its fields are the message's
		}
		if opens {
			r.scopes = append(r.scopes, scope{found[1], name})
		}
	case opens:
		r.rpc(in, line)
		r.scopes = append(r.scopes, scope{"", in.name})
	default:
		r.member(in, line)
	}
}

// member notes a field, a value or an RPC.
func (r *reader) member(in scope, line string) {
	switch in.kind {
	case "message", "oneof":
		if found := fieldLine.FindStringSubmatch(line); found != nil {
			r.note(in.name, found[1])
		}
	case "enum":
		if found := valueLine.FindStringSubmatch(line); found != nil {
			r.note(in.name.Parent(), found[1]) // values stand beside their enum
		}
	default:
		r.rpc(in, line)
	}
}

func (r *reader) rpc(in scope, line string) {
	if found := rpcLine.FindStringSubmatch(line); found != nil && in.kind == "service" {
		r.note(in.name, found[1])
	}
}

// note keeps the comment that was read for a name.
func (r *reader) note(in protoreflect.FullName, name string) protoreflect.FullName {
	full := in.Append(protoreflect.Name(name))
	r.into[full] = strings.TrimSpace(strings.Join(r.comment, "\n"))
	return full
}
