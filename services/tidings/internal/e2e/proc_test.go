package e2e

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func procDir(p *process) string { return fmt.Sprintf("/proc/%d", p.cmd.Process.Pid) }

// socket is a line of /proc/net/tcp.
type socket struct {
	local, remote string
	state, inode  string
}

// The states of a socket there.
const (
	established = "01"
	listening   = "0A"
)

// dialled are the peers of the connections that the process has made, not accepted, each once.
func (p *process) dialled(t *testing.T) []string {
	t.Helper()
	own := map[string]bool{}
	for _, target := range p.descriptors(t) {
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	accepts := map[string]bool{} // ports
	var conns []socket
	for _, s := range sockets(t, procDir(p)) {
		switch {
		case !own[s.inode]:
		case s.state == listening:
			accepts[port(s.local)] = true
		case s.state == established:
			conns = append(conns, s)
		}
	}
	var peers []string
	for _, s := range conns {
		if !accepts[port(s.local)] && !slices.Contains(peers, s.remote) {
			peers = append(peers, s.remote)
		}
	}
	return peers
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func sockets(t *testing.T, dir string) []socket {
	t.Helper()
	var all []socket
	for _, file := range []string{"net/tcp", "net/tcp6"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue // a system without that protocol
		}
		for _, line := range lines(string(text))[1:] {
			f := strings.Fields(line)
			all = append(all, socket{local: endpoint(t, f[1]), remote: endpoint(t, f[2]), state: f[3], inode: f[9]})
		}
	}
	if len(all) == 0 {
		t.Fatalf("no sockets in %s", dir)
	}
	return all
}

// endpoint reads "0100007F:1F90", whose address is of 32-bit words in the order of this machine.
func endpoint(t *testing.T, text string) string {
	t.Helper()
	addr, hexPort, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addr)
	port, portErr := strconv.ParseUint(hexPort, 16, 16)
	if !ok || err != nil || portErr != nil {
		t.Fatalf("no address: %q", text)
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	return net.JoinHostPort(net.IP(raw).String(), strconv.FormatUint(port, 10))
}

// inGroup gives a command and all that it starts a process group of their own.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // it may be gone already
