package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// command is a line of one of the README's shell blocks, and the JSON block behind it, if there is one.
type command struct {
	line   string
	answer string
}

// readme reads the commands of the README.
func readme(t *testing.T) []command {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []command
	fence := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```") && fence != "":
			fence = ""
		case strings.HasPrefix(line, "```"):
			fence = line
		case fence == "```sh" && strings.TrimSpace(line) != "":
			if n := len(all); n > 0 && strings.HasSuffix(all[n-1].line, `\`) {
				all[n-1].line = strings.TrimSuffix(all[n-1].line, `\`) + strings.TrimSpace(line)
			} else {
				all = append(all, command{line: line})
			}
		case fence == "```json" && len(all) > 0:
			all[len(all)-1].answer += line + "\n"
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d commands in the README", len(all))
	}
	return all
}

// byTheGate are commands that .ci/run itself consists of: running them here would run this test. The soaks are of ten
// minutes; go test ./... runs them for seconds.
var byTheGate = []string{
	"go test ./...", `eval "$(.ci/real up kafka redis)"`, "go test -run '^$' -bench . ./bus/...",
	"go test ./services/tidings/internal/soak -run Soak -v -timeout 20m -soak 10m",
	"go test ./services/tidings/internal/soak -run Soak -v -timeout 20m -soak 10m -soak.db postgres",
}

// Every command of the README is run, as it stands there and from the repository's root, and does what the README
// says. It needs the README's own ports, and grpcurl from the module proxy: on a laptop neither may be there.
func TestTheReadmesCommands(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("CI is not true: this takes the README's own ports, and builds grpcurl")
	}
	t.Parallel()
	// As people run them: without the race detector.
	env := append(environment(), "TIDINGS_DATA="+t.TempDir(), "GOFLAGS="+withoutRace(os.Getenv("GOFLAGS")))
	// What is compiled first doesn't count as the programs' time to start.
	if code := shell(t, env, "go list -export ./services/... >/dev/null").wait(t, buildTime); code != 0 {
		t.Fatalf("exit %d", code)
	}
	postgres := readmeDatabase(t)
	for _, c := range readme(t) {
		line, _, _ := strings.Cut(c.line, "  #")
		line = strings.TrimSpace(line)
		switch {
		case slices.Contains(byTheGate, line):
		case strings.Contains(line, " --bus "):
			readmeElsewhere(t, env, strings.ReplaceAll(line, "postgres://tidings@127.0.0.1:5432/tidings", postgres))
		case line == "go run ./services/tidings up":
			up := shell(t, env, line)
			up.await(t, `Ctrl-C`)
		default:
			env = readmeCommand(t, env, line, c.answer)
		}
	}
}

// buildTime is how long go run may take, on a machine that has compiled nothing yet.
const buildTime = 10 * time.Minute

// readmeCommand runs a line, and compares the JSON that it prints with the README's.
func readmeCommand(t *testing.T, env []string, line, answer string) []string {
	t.Helper()
	if strings.Contains(line, "$ID") {
		env = append(env, "ID="+someID(t))
	}
	p := shell(t, env, line)
	if code := p.wait(t, buildTime); code != 0 {
		t.Errorf("%s: exit %d\n%s", line, code, tail(p.out.String()))
		return env
	}
	if answer == "" {
		return env
	}
	var want, got any
	if err := json.Unmarshal([]byte(answer), &want); err != nil {
		t.Errorf("%s: the README's answer is no JSON: %v", line, err)
	}
	out := p.out.String()
	if at := strings.Index(out, "{"); at > 0 {
		out = out[at:] // go run may tell of downloads first
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&got); err != nil {
		t.Errorf("%s printed no JSON: %v\n%s", line, err, tail(out))
	}
	if shape(want) != shape(got) {
		t.Errorf("%s answers %s\nand the README says %s", line, shape(got), shape(want))
	}
	return env
}

// shape is the keys of a JSON value: of a list, those of its first.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var keys []string
		for k, inner := range v {
			keys = append(keys, k+shape(inner))
		}
		slices.Sort(keys)
		return "{" + strings.Join(keys, " ") + "}"
	case []any:
		if len(v) > 0 {
			return "[" + shape(v[0]) + "]"
		}
		return "[]"
	}
	return ""
}

// readmeElsewhere runs a program that the README points at another bus, until it serves: on ports of its own, for the
// README's platform still runs, and on the real servers that are there in place of those that the README names.
func readmeElsewhere(t *testing.T, env []string, line string) {
	t.Helper()
	line = strings.ReplaceAll(line, "/var/lib/tidings/", t.TempDir()+"/")
	for named, there := range map[string]func(*testing.T) string{
		"kafka://127.0.0.1:9092": needReal, "redis://127.0.0.1:6379/0": realRedisURL,
	} {
		if strings.Contains(line, named) {
			line = strings.ReplaceAll(line, named, there(t))
		}
	}
	line += fmt.Sprintf(" --topic e2e-readme-%d", time.Now().UnixNano())
	ready := `msg=serving`
	if strings.Contains(line, " up ") {
		line += " " + strings.Join(anyPorts(), " ")
		ready = `Ctrl-C`
	} else {
		line += " --listen 127.0.0.1:0" // the last one counts
	}
	if strings.Contains(line, "services/users ") {
		line += " --door 127.0.0.1:0"
	}
	p := shell(t, env, line)
	p.await(t, ready)
}

// readmeDatabase stands in place of the Postgres that the README names, for all of its commands: they share it. It is
// quoted for a shell.
func readmeDatabase(t *testing.T) string {
	t.Helper()
	needPostgres(t)
	return "'" + newDatabase(t) + "'"
}

// realRedisURL is the real Redis that CI has brought up.
func realRedisURL(t *testing.T) string {
	t.Helper()
	url := os.Getenv("TIDINGS_TEST_REDIS")
	if url == "" {
		t.Fatal("TIDINGS_TEST_REDIS is not set: eval \"$(.ci/real up)\" first")
	}
	return url
}

// shell runs a line as a shell does that stands in the repository's root. All that it starts ends with the test.
func shell(t *testing.T, env []string, line string) *process {
	t.Helper()
	t.Log(line)
	p := &process{name: line, cmd: exec.Command("bash", "-c", line), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = root, env
	inGroup(p.cmd)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		killGroup(p.cmd)
		<-p.exited
		if t.Failed() {
			t.Logf("%s printed:\n%s", line, tail(p.out.String()))
		}
	})
	return p
}

// someID is the id of a user of the platform on the README's ports.
func someID(t *testing.T) string {
	t.Helper()
	conn, err := grpc.NewClient("127.0.0.1:8481", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	resp, err := usersv1.NewUserServiceClient(conn).ListUsers(ctx, &usersv1.ListUsersRequest{PageSize: 1})
	if err != nil || len(resp.GetUsers()) == 0 {
		t.Fatalf("no user: %v", err)
	}
	return resp.GetUsers()[0].GetId()
}
