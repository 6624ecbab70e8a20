package schemagate

import (
	"os"
	"path/filepath"
	"strings"
)

// bufYAML is what buf.yaml says, without its comments: a rule that is excepted there, or a file that is ignored, would be
// looked at no more, and nobody would be told. Who changes it on purpose changes both.
const bufYAML = `version: v2
modules:
  - path: proto
lint:
  use:
    - STANDARD
    - COMMENTS
  disallow_comment_ignores: true
breaking:
  use:
    - FILE`

// checkBufYAML finds a buf.yaml that says something else.
func (g Gate) checkBufYAML() ([]Fault, error) {
	b, err := os.ReadFile(filepath.Join(g.Dir, "buf.yaml"))
	if err != nil {
		return nil, err
	}
	got, want := settings(string(b)), settings(bufYAML)
	line := 0
	for i, s := range got {
		if i >= len(want) || s.text != want[i].text {
			line = s.line
			break
		}
	}
	if line == 0 && len(got) == len(want) {
		return nil, nil
	}
	what := "it ends too early: rules of buf are asked for no more"
	if line > 0 {
		what = "from here on it says something else than what the gate asks for, which has no except and no ignore"
	}
	return []Fault{{
		File: "buf.yaml", Line: line, Rule: "RULES_CHANGED", What: what,
		Instead: "put it back (git log -p -- buf.yaml has it), and follow the rule that was in the way. A change to the rules themselves is " +
			"one to services/tidings/internal/schemagate/bufyaml.go too, with its reason",
	}}, nil
}

// setting is a line of YAML that is no comment.
type setting struct {
	text string
	line int // from 1
}

// settings lists the lines of a document without comments and empty ones. All that ends a line in YAML ends one here,
// or something could be hidden behind a comment.
func settings(document string) (all []setting) {
	ends := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")
	for i, text := range strings.Split(ends.Replace(document), "\n") {
		if strings.HasPrefix(strings.TrimLeft(text, " \t"), "#") {
			continue
		}
		text, _, _ = strings.Cut(text, " #")
		if text = strings.TrimRight(text, " \t"); text != "" {
			all = append(all, setting{text, i + 1})
		}
	}
	return all
}
