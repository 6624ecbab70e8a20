package schemagate

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// repo is the top of this checkout, from the folder of the package.
var repo = filepath.Join("..", "..", "..", "..")

// bufPath finds buf for tests, or builds it: once, for a `go run` a call would take longer than the tests do.
var bufPath = sync.OnceValues(findBuf)

var errNoBuf = errors.New("buf isn't built yet, which takes minutes: run .ci/buf --version once, or name one in TIDINGS_TEST_BUF")

// needsBuf returns buf. Where it would have to be built first the test is skipped, but in CI, where it is built.
func needsBuf(t *testing.T) string {
	t.Helper()
	path, err := bufPath()
	if errors.Is(err, errNoBuf) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func findBuf() (string, error) {
	if path := os.Getenv("TIDINGS_TEST_BUF"); path != "" {
		return path, nil
	}
	script, err := os.ReadFile(filepath.Join(repo, ".ci", "buf"))
	if err != nil {
		return "", err
	}
	pinned := regexp.MustCompile(`github\.com/bufbuild/buf/cmd/buf@(v[0-9.]+)`).FindSubmatch(script)
	if pinned == nil {
		return "", errors.New(".ci/buf pins no version of buf")
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return "", err
	}
	// What `go run` has built lies in Go's cache, in a folder of its own.
	built, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(cache)), "*", "*-d", "buf"))
	if err != nil {
		return "", err
	}
	for _, path := range built {
		version, err := exec.Command(path, "--version").Output()
		if err == nil && "v"+strings.TrimSpace(string(version)) == string(pinned[1]) {
			return path, nil
		}
	}
	if os.Getenv("CI") != "true" {
		return "", errNoBuf
	}
	return install(string(pinned[0]))
}

// install builds a program at a version. It stays until the system clears its folder of temporary files, for the tests
// of one run share it.
func install(program string) (string, error) {
	bin, err := os.MkdirTemp("", "tidings-buf-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "install", program)
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS="+withoutRace(os.Getenv("GOFLAGS")))
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(output))
	}
	return filepath.Join(bin, "buf"), nil
}

func TestFindingsOfBuf(t *testing.T) {
	const output = `{"path":"proto/a.proto","start_line":45,"start_column":1,"type":"FIELD_NO_DELETE","message":"Previously present field \"3\" was deleted."}
{"start_line":1,"start_column":1,"type":"FILE_NO_DELETE","message":"Previously present file \"users/v1/write_door.proto\" was deleted."}
{"type":"X","message":"of nothing"}
exit status 100
`
	got, err := findings([]byte(output), "0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	where := func(f Fault) string { return strings.SplitN(f.String(), "\n", 2)[0] }
	want := []string{
		`proto/a.proto:45: FIELD_NO_DELETE: Previously present field "3" was deleted (released in 0.1.0)`,
		`proto/users/v1/write_door.proto: FILE_NO_DELETE: Previously present file "users/v1/write_door.proto" was deleted (released in 0.1.0)`,
		`proto: X: of nothing (released in 0.1.0)`,
	}
	var have []string
	for _, f := range got {
		have = append(have, where(f))
	}
	if !slices.Equal(have, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if _, err := findings([]byte("{broken"), ""); err == nil {
		t.Error("what can't be read is no finding, and no error")
	}
}

// A buf that can't run must not look like one that has found nothing.
func TestABufThatFailsIsAnError(t *testing.T) {
	program := filepath.Join(t.TempDir(), "buf")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no network >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Gate{Dir: repo, Buf: program}.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("error %v", err)
	}
	if _, err := (Gate{Dir: repo, Buf: program + "-not"}).Check(t.Context()); err == nil {
		t.Error("a program that isn't there is no error")
	}
}

func TestBufIsBuiltWithoutTheRaceDetector(t *testing.T) {
	for flags, want := range map[string]string{
		"": "", "-race": "", "-timeout=30m -race": "-timeout=30m", "--race -trimpath": "-trimpath", "-tags=race": "-tags=race",
	} {
		if got := withoutRace(flags); got != want {
			t.Errorf("%q became %q", flags, got)
		}
	}
}

// Every rule that can break a release has advice of Tidings' own, and none that is for lint.
func TestEveryBreakingRuleHasAdvice(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), needsBuf(t), "config", "ls-breaking-rules").Output()
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.Contains(line, "FILE") || fields[0] == "ID" {
			continue
		}
		rules++
		if advice(fields[0]) == adviceLint {
			t.Errorf("%s is advised as a rule of lint", fields[0])
		}
	}
	if rules < 40 {
		t.Errorf("buf lists %d rules of the category FILE", rules)
	}
	for rule, want := range map[string]string{
		"COMMENT_RPC": adviceComment, "SERVICE_SUFFIX": adviceLint, "FILE_SAME_GO_PACKAGE": adviceOption, "RPC_SAME_REQUEST_TYPE": adviceNewRPC,
		"MESSAGE_SAME_REQUIRED_FIELDS": adviceDefault, "FIELD_SAME_TYPE": adviceNewField, "FILE_SAME_PACKAGE": adviceNewPackage,
	} {
		if got := advice(rule); got != want {
			t.Errorf("%s: %s", rule, got)
		}
	}
}
