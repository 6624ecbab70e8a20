package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/program"
)

// schemaRun runs a `tidings schema` command.
func schemaRun(args ...string) (code int, stdout, stderr string) {
	var out, faults bytes.Buffer
	in := program.IO{Name: "tidings", Args: append([]string{"schema"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &faults}
	code = program.Main(in, run)
	return code, out.String(), faults.String()
}

// checkout is the contracts of this checkout, with a shell script for buf.
func checkout(t *testing.T, buf string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "proto"), os.DirFS("../../proto")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, ".ci"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"buf.yaml": "version: v2\n", ".ci/buf": "#!/bin/sh\n" + buf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSchemaSaysWhatIsTypedWrong(t *testing.T) {
	dir := checkout(t, "exit 1\n")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"check", "--dir", filepath.Join(dir, "none")}, 2, []string{"--dir", "buf.yaml", "pass the top of a checkout"}},
		{[]string{"check", "--dir", filepath.Join(dir, "proto")}, 2, []string{"--dir", "buf.yaml"}},
		{[]string{"check", "0.1.0", "--dir", dir}, 2, []string{"unexpected argument 0.1.0"}},
		{[]string{"release", "--dir", dir}, 2, []string{"<version>"}},
		{[]string{"release", "two", "--dir", dir}, 2, []string{`"two"`, "pass MAJOR.MINOR.PATCH, such as 0.2.0"}},
		{[]string{"release", "0.1.0", "--dir", dir}, 1, []string{"0.1.0 is released, and never changes again", "pass "}},
		{[]string{"record", "--dir", dir}, 2, []string{"<type>"}},
		{[]string{"record", "users.events.v1.UserCreated", "--json", "-", "--as-of", "0.1.0"}, 2, []string{"--json", "--as-of", "pass one"}},
		{[]string{"record", "users.events.v1.UserCreated", "--json", filepath.Join(dir, "none.json"), "--dir", dir}, 2, []string{"--json", "none.json"}},
		{[]string{"record", "users.events.v1.UserCreated", "--json", "", "--dir", dir}, 2, []string{"--json: it is empty"}},
		{[]string{"record", "users.events.v1.UserCreated", "--ext", "traceparent", "--dir", dir}, 2, []string{"--ext"}},
		{[]string{"record", "users.events.v1.UserCreated", "--case", "No!", "--dir", dir}, 2, []string{`--case "No!"`, "small letters"}},
		{[]string{"record", "users.events.v1.UserCreated", "--as-of", "new", "--dir", dir}, 2, []string{"--as-of", `"new"`}},
	} {
		code, stdout, stderr := schemaRun(c.args...)
		if code != c.code || stdout != "" {
			t.Errorf("%v: exit code %d, printed %q", c.args, code, stdout)
		}
		for _, word := range c.want {
			if !strings.Contains(stderr, word) {
				t.Errorf("%v: %q has no %q in it", c.args, stderr, word)
			}
		}
	}
}

// What the gate finds is told by the command, which fails.
func TestSchemaCheckTellsWhatIsBroken(t *testing.T) {
	const finding = `{"path":"proto/users/events/v1/events.proto","start_line":45,"type":"COMPILE","message":"syntax error"}`
	dir := checkout(t, "echo '"+finding+"'\nexit 100\n")
	code, stdout, stderr := schemaRun("check", "--dir", dir)
	const want = "tidings: schema check: 1 fault\nproto/users/events/v1/events.proto:45: COMPILE: syntax error\n    instead: mend"
	if code != 1 || stdout != "" || !strings.HasPrefix(stderr, want) {
		t.Errorf("exit code %d, printed %q and\n%s", code, stdout, stderr)
	}
}
