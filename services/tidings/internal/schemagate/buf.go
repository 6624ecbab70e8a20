package schemagate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// protoDir is where the module stands in a checkout, as buf.yaml says.
const protoDir = "proto"

// Gate is the gate of one checkout. It writes nothing but what Release and Record say they do.
type Gate struct {
	// Dir is the checkout: the folder that holds buf.yaml and proto/.
	Dir string
	// Buf is the program to run. Empty is .ci/buf of the checkout, which pins the version.
	Buf string
}

// buf runs buf in the checkout. found says that it has printed findings, which are lines of JSON.
func (g Gate) buf(ctx context.Context, args ...string) (stdout []byte, found bool, err error) {
	program := g.Buf
	if program == "" {
		if program, err = filepath.Abs(filepath.Join(g.Dir, ".ci", "buf")); err != nil {
			return nil, false, err
		}
	}
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = g.Dir, append(os.Environ(), "GOFLAGS="+withoutRace(os.Getenv("GOFLAGS"))), &complaint
	stdout, err = cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil: // with findings it would have failed; what is printed nonetheless is not passed over
		return stdout, finding(stdout), nil
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	// The code alone would not do: `go run` makes 1 of every code of the program that it runs.
	case errors.As(err, &exit) && finding(stdout):
		return stdout, true, nil
	case errors.As(err, &exit) && finding(complaint.Bytes()): // buf build prints them there
		return complaint.Bytes(), true, nil
	}
	return nil, false, fmt.Errorf("schemagate: %s %s: %w\n%s", program, strings.Join(args, " "), err, bytes.TrimSpace(append(complaint.Bytes(), stdout...)))
}

// finding reports whether output has a line of JSON. `go run` adds a line of its own behind what a program prints.
func finding(output []byte) bool {
	return bytes.HasPrefix(output, []byte("{")) || bytes.Contains(output, []byte("\n{"))
}

// withoutRace is GOFLAGS for programs that the tests run and do not test: with the race detector, buf would be compiled
// once more, for minutes.
func withoutRace(flags string) string {
	kept := slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return strings.TrimLeft(f, "-") == "race" })
	return strings.Join(kept, " ")
}

// bufFinding is a line that buf prints with --error-format=json.
type bufFinding struct {
	Path      string `json:"path"`
	StartLine int    `json:"start_line"`
	Type      string `json:"type"`
	Message   string `json:"message"`
}

// findings reads them. Since is the release that was compared with, "" for none.
func findings(output []byte, since string) ([]Fault, error) {
	var faults []Fault
	for line := range bytes.Lines(output) {
		if !bytes.HasPrefix(line, []byte("{")) {
			continue
		}
		var f bufFinding
		if err := json.Unmarshal(line, &f); err != nil {
			return nil, fmt.Errorf("schemagate: what buf prints can't be read: %w: %s", err, line)
		}
		if f.Path == "" { // of a file that is gone buf says the name alone, within its text
			f.Path, f.StartLine = goneFile(f.Message), 0
		}
		faults = append(faults, Fault{
			File: filepath.ToSlash(f.Path), Line: f.StartLine, Rule: f.Type, What: f.Message, Instead: advice(f.Type), Since: since,
		})
	}
	return faults, nil
}

// goneFile finds the file in: Previously present file "users/v1/user_service.proto" was deleted.
func goneFile(message string) string {
	for part := range strings.SplitSeq(message, `"`) {
		if strings.HasSuffix(part, ".proto") {
			return protoDir + "/" + part
		}
	}
	return protoDir
}

// findingsOf runs buf for what it finds.
func (g Gate) findingsOf(ctx context.Context, since string, args ...string) ([]Fault, error) {
	output, found, err := g.buf(ctx, append(args, "--error-format=json")...)
	if err != nil || !found {
		return nil, err
	}
	return findings(output, since)
}

// build makes an image of proto/ as it is now, in a file. Where it can't be compiled, faults say why.
func (g Gate) build(ctx context.Context, file string) (image []byte, faults []Fault, err error) {
	faults, err = g.findingsOf(ctx, "", "build", "--as-file-descriptor-set", "--output", file)
	if err != nil || len(faults) > 0 {
		return nil, faults, err
	}
	image, err = os.ReadFile(file)
	return image, nil, err
}

// schema compiles proto/ as it is now.
func (g Gate) schema(ctx context.Context) (s *schema, image []byte, faults []Fault, err error) {
	work, err := os.MkdirTemp("", "tidings-schema-")
	if err != nil {
		return nil, nil, nil, err
	}
	defer os.RemoveAll(work)
	image, faults, err = g.build(ctx, filepath.Join(work, "now.binpb"))
	if err != nil || len(faults) > 0 {
		return nil, nil, faults, err
	}
	s, err = parseSchema(image)
	return s, image, nil, err
}
