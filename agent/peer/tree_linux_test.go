package peer

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
)

// A client in a process below another is inside the tree of both, and of no
// process beside them.
func TestDescendantOf(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			ln := listen(t, network, map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network])
			pid := startClient(t, ln.Addr(), nil)
			c := Identify(accept(t, ln))
			beside := startIdle(t)
			for who, tt := range map[string]struct {
				pid  int
				want bool
			}{
				"itself": {pid, true}, "its parent": {os.Getpid(), true}, "its grandparent": {os.Getppid(), os.Getppid() > 1},
				"a brother": {beside, false}, "the first process": {1, false}, "no process": {0, false}, "every process": {-1, false},
			} {
				in, err := c.DescendantOf(tt.pid)
				if err != nil || in != tt.want {
					t.Errorf("descendant of %s: %t, %v", who, in, err)
				}
			}
		})
	}
}

// Of a connection that was closed nobody can tell whose it was: not a yes.
func TestDescendantOfNobody(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp4", "127.0.0.1:0")
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted := accept(t, ln)
	_ = client.Close()
	if in, err := Identify(accepted).DescendantOf(os.Getpid()); in || !errors.Is(err, ErrUnknown) {
		t.Errorf("DescendantOf = %t, %v", in, err)
	}
}

func TestDescendantOfUnixPeer(t *testing.T) {
	t.Parallel()
	ln := listen(t, "unix", t.TempDir()+"/s")
	startClient(t, ln.Addr(), nil)
	c := Identify(accept(t, ln))
	if in, err := c.DescendantOf(os.Getpid()); !in || err != nil {
		t.Errorf("DescendantOf = %t, %v", in, err)
	}
}

func TestDescends(t *testing.T) {
	t.Parallel()
	child := startIdle(t)
	for name, tt := range map[string]struct {
		pid, root int
		want      bool
	}{
		"child":       {child, os.Getpid(), true},
		"itself":      {child, child, true},
		"upside down": {os.Getpid(), child, false},
		"everybody":   {child, 1, false},
		"nobody":      {0, 0, false},
	} {
		if got := Descends(tt.pid, tt.root); got != tt.want {
			t.Errorf("%s: Descends(%d, %d) = %t", name, tt.pid, tt.root, got)
		}
	}
}

// A parent that is younger than its child was given the number of one that ended.
func TestClimbStopsAtStrangers(t *testing.T) {
	t.Parallel()
	table := map[int]process{
		50: {pid: 50, parent: 40, start: 500},
		40: {pid: 40, parent: 30, start: 400},
		30: {pid: 30, parent: 20, start: 450}, // took the number
		20: {pid: 20, parent: 1, start: 100},
		60: {pid: 60, parent: 61, start: 1}, // a table that does not add up
		61: {pid: 61, parent: 60, start: 1},
	}
	read := func(pid int) (process, error) {
		p, ok := table[pid]
		if !ok {
			return process{}, os.ErrNotExist
		}
		return p, nil
	}
	if got := climb(table[50], read); len(got) != 2 || got[0] != 50 || got[1] != 40 {
		t.Errorf("climbed %v", got)
	}
	if got := climb(table[60], read); len(got) != treeLimit {
		t.Errorf("climbed %d in a circle", len(got))
	}
}

// startIdle starts a process that does nothing until the test ends.
func startIdle(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
