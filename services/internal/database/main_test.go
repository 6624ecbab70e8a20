package database_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/services/internal/database"
)

// childFile names the database that this binary is to open and keep, where it was started by a test as a second
// process.
const childFile = "TIDINGS_TEST_DATABASE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

// child opens the database, writes a row that it doesn't commit to the file proper, says so, and keeps it open
// until its input ends.
func child(path string) int {
	ctx := context.Background()
	db, err := database.Open(ctx, path, slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS child (n INTEGER); INSERT INTO child VALUES (1)`)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := db.Close(); err != nil {
		return 1
	}
	return 0
}

// process is a second process that has a database open.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// startChild starts a second process on path and waits for its first line.
func startChild(t *testing.T, path string) (p *process, line string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p = &process{cmd, stdin}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the second process said %q: %v", line, err)
	}
	return p, line
}

// end lets the process end by itself.
func (p *process) end() error {
	_ = p.stdin.Close()
	return p.cmd.Wait()
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
