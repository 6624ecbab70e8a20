package schemagate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tidings-dev/tidings/bus"
)

const corpusDir = "corpus"

// The files of a golden event.
const (
	fileJSON       = "event.json"
	filePayload    = "payload.binpb"
	fileStructured = "structured.binpb"
	fileHeaders    = "binary.headers"
)

// goldenFiles lists them.
func goldenFiles() []string { return []string{fileJSON, filePayload, fileStructured, fileHeaders} }

// isGoldenFile reports whether a file of that name is one of them.
func isGoldenFile(name string) bool { return slices.Contains(goldenFiles(), name) }

// Golden is a recorded event: its bytes on the wire, in both of CloudEvents' modes, and what they mean.
type Golden struct {
	Type string // full name of its message: users.events.v1.UserCreated
	Case string // what it is called among those of its type

	Payload    []byte          // data of the event, which is the value of its record in binary mode
	Structured []byte          // value of its record in structured mode
	Headers    []bus.Attribute // its headers in binary mode, by the names of headers: ce_id, content-type

	Attributes map[string]string // what the attributes mean, by CloudEvents' names
	Data       json.RawMessage   // what the payload means, in protojson
}

// dir is where it stands, from the top of the checkout.
func (g *Golden) dir() string { return path.Join(protoDir, corpusDir, g.Type, g.Case) }

// ReadCorpus reads the golden events below proto/corpus of the checkout dir, by type and case. None is no error.
func ReadCorpus(dir string) ([]Golden, error) {
	root := filepath.Join(dir, protoDir, corpusDir)
	var all []Golden
	types, err := folders(root)
	if err != nil {
		return nil, err
	}
	for _, typ := range types {
		cases, err := folders(filepath.Join(root, typ))
		if err != nil {
			return nil, err
		}
		for _, name := range cases {
			g := Golden{Type: typ, Case: name}
			if err := g.read(filepath.Join(root, typ, name)); err != nil {
				return nil, fmt.Errorf("%s: %w", g.dir(), err)
			}
			all = append(all, g)
		}
	}
	return all, nil
}

// folders lists the folders within root, none where it isn't there. What begins with a dot is being written.
func folders(root string) (names []string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// read reads the files of a case.
func (g *Golden) read(dir string) (err error) {
	var document, headers []byte
	// All four must be there: an event that lost one of its files is no recording any more.
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{filePayload, &g.Payload}, {fileStructured, &g.Structured}, {fileJSON, &document}, {fileHeaders, &headers}} {
		if *f.to, err = os.ReadFile(filepath.Join(dir, f.name)); err != nil {
			return err
		}
	}
	if err := g.parseJSON(document); err != nil {
		return fmt.Errorf("%s: %w", fileJSON, err)
	}
	if g.Headers, err = parseHeaders(headers); err != nil {
		return fmt.Errorf("%s: %w", fileHeaders, err)
	}
	return nil
}

// parseJSON reads event.json: the attributes, and the payload as "data".
func (g *Golden) parseJSON(document []byte) error {
	// As CloudEvents' own JSON format has it, but for data: that is a message there, and its meaning here.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		return err
	}
	g.Data = members["data"]
	delete(members, "data")
	g.Attributes = map[string]string{}
	for name, value := range members {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		g.Attributes[name] = text
	}
	return nil
}

// formatJSON is what parseJSON reads.
func (g *Golden) formatJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("{\n")
	for _, name := range slices.SortedFunc(maps.Keys(g.Attributes), byRank) {
		value, err := json.Marshal(g.Attributes[name])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "  %q: %s,\n", name, value)
	}
	b.WriteString(`  "data": `)
	if err := json.Indent(&b, g.Data, "  ", "  "); err != nil {
		return nil, err
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

// byRank has those that every event has first, as CloudEvents tells of them.
func byRank(a, b string) int {
	first := []string{"specversion", "id", "source", "type", "subject", "time", "version", "datacontenttype"}
	rank := func(name string) int {
		if i := slices.Index(first, name); i >= 0 {
			return i
		}
		return len(first)
	}
	if c := rank(a) - rank(b); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// parseHeaders reads binary.headers: one "name: value" a line, the value a Go string with its quotes.
func parseHeaders(text []byte) (headers []bus.Attribute, err error) {
	for line := range strings.Lines(string(text)) {
		name, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf(`%q is not of the form name: "value"`, line)
		}
		headers = append(headers, bus.Attribute{Name: name, Value: []byte(value)})
	}
	return headers, nil
}

// formatHeaders is what parseHeaders reads.
func formatHeaders(headers []bus.Attribute) []byte {
	var b bytes.Buffer
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %q\n", h.Name, h.Value)
	}
	return b.Bytes()
}

// headerOf is what CloudEvents' binding for Kafka calls an attribute.
func headerOf(attribute string) string {
	if attribute == "datacontenttype" {
		return "content-type"
	}
	return "ce_" + attribute
}
