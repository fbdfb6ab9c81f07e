package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startIdle starts a process that does nothing until the test ends.
func startIdle(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("cat")
	start(t, cmd)
	return cmd.Process.Pid
}

// describe reads the process behind id.
func describe(id identity) Peer {
	s := newSearch()
	return s.describe(id, s.holder(id, process{}))
}

// A client in a process below another is inside the tree of both, and of no
// process beside them.
func TestDescendantOf(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			pid, c := newFixture(t, network).dialFrom(nil)
			beside := startIdle(t)
			for name, tt := range map[string]struct {
				pid  int
				want bool
			}{
				"itself": {pid, true}, "its parent": {os.Getpid(), true}, "its grandparent": {os.Getppid(), os.Getppid() > 1},
				"a brother": {beside, false}, "the first process": {1, false}, "no process": {0, false}, "every process": {-1, false},
			} {
				in, err := c.DescendantOf(tt.pid)
				if err != nil || in != tt.want {
					t.Errorf("descendant of %s: %t, %v", name, in, err)
				}
			}
		})
	}
}

// A connection that was closed has no known process: not a yes.
func TestDescendantOfNobody(t *testing.T) {
	t.Parallel()
	server := newFixture(t, "tcp4").dialAlone(func(c *net.TCPConn) { _ = c.Close() })
	if in, err := Identify(server).DescendantOf(os.Getpid()); in || !errors.Is(err, ErrUnknown) {
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
		"child":         {child, os.Getpid(), true},
		"itself":        {child, child, true},
		"upside down":   {os.Getpid(), child, false},
		"every process": {child, 1, false},
		"no process":    {0, 0, false},
	} {
		if got := Descends(tt.pid, tt.root); got != tt.want {
			t.Errorf("%s: Descends(%d, %d) = %t", name, tt.pid, tt.root, got)
		}
	}
}

// Only its first process may be shown for a connection that children inherited.
func TestHolderIsTheOldest(t *testing.T) {
	t.Parallel()
	client, server := newFixture(t, "tcp4").dial()
	file, err := client.(*net.TCPConn).File()
	must(t, err)
	defer file.Close()
	newFixture(t, "tcp4").dialFrom(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{file} })
	if p := Identify(server).Describe(); p.PID != os.Getpid() {
		t.Errorf("Describe() = %+v, want this process", p)
	}
}

// Of a connection whose process has been found, another one that has it is found when that has
// let go of it.
func TestHolderIsFoundAgain(t *testing.T) {
	t.Parallel()
	client, server := newFixture(t, "tcp4").dial()
	file, err := client.(*net.TCPConn).File()
	must(t, err)
	child, _ := newFixture(t, "tcp4").dialFrom(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{file} })
	c := Identify(server)
	if in, err := c.DescendantOf(child); in || err != nil || c.held.pid != os.Getpid() {
		t.Errorf("DescendantOf = %t, %v; held by %+v, want this process", in, err, c.held)
	}
	must(t, errors.Join(file.Close(), client.Close()))
	// A child of another test has both until it has executed.
	for range 3000 {
		if held := newSearch().holder(mustResolve(t, c), c.held); held.pid == child {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if p := c.Describe(); p.PID != child {
		t.Errorf("Describe() = %+v, want the child %d", p, child)
	}
}

func mustResolve(t *testing.T, c *Conn) identity {
	t.Helper()
	id, err := c.resolvePeer()
	must(t, err)
	return id
}

// One search for many connections finds what a search for each would find.
func TestDescribeAll(t *testing.T) {
	t.Parallel()
	pid, other := newFixture(t, "tcp4").dialFrom(nil)
	conns, want := []*Conn{other}, []int{pid}
	for _, network := range []string{"tcp4", "tcp4", "tcp6", "unix"} {
		_, server := newFixture(t, network).dial()
		conns, want = append(conns, Identify(server)), append(want, os.Getpid())
	}
	gone := newFixture(t, "tcp4").dialAlone(func(c *net.TCPConn) { _ = c.Close() })
	conns, want = append(conns, Identify(gone)), append(want, 0)
	none := NewLookup(func() Peer { t.Error("described"); return Peer{} })
	all := []*Lookup{nil, none, none}
	for _, c := range conns {
		l := LookupFrom(c.NewContext(t.Context()))
		if l.Begun() {
			t.Error("described before")
		}
		all = append(all, l, l)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { DescribeAll(all) })
		both.Go(func() { conns[1].Describe() })
	}
	both.Wait()
	for i, c := range conns {
		p := c.Describe()
		if !c.begun() && want[i] != 0 {
			t.Errorf("connection %d was not described", i)
		}
		if p.PID != want[i] {
			t.Errorf("connection %d: %+v, want process %d", i, p, want[i])
		}
		again := &Conn{resolvePeer: c.resolvePeer}
		if diff := cmp.Diff(again.Describe(), p); diff != "" {
			t.Errorf("connection %d (-alone +with the others):\n%s", i, diff)
		}
	}
}

func TestSocketOf(t *testing.T) {
	t.Parallel()
	for link, want := range map[string]uint32{
		"socket:[7]": 7, "socket:[4294967295]": 1<<32 - 1, "socket:[4294967296]": 0, "socket:[]": 0, "socket:7": 0,
		"socket:[7]x": 0, "socket:[-7]": 0, "pipe:[7]": 0, "": 0, "/tmp/socket:[7]": 0,
	} {
		if inode, ok := socketOf([]byte(link)); ok != (want != 0) || ok && inode != want {
			t.Errorf("%q is %d, %t", link, inode, ok)
		}
	}
}

// A number that was given to another process since is unknown.
func TestReusedProcessNumber(t *testing.T) {
	t.Parallel()
	st, err := readStat(os.Getpid())
	must(t, err)
	id := identity{uid: os.Geteuid(), pid: os.Getpid(), start: st.start}
	if p := describe(id); p.PID != os.Getpid() {
		t.Fatalf("describe = %+v, want this process", p)
	}
	id.start--
	if diff := cmp.Diff(Peer{UID: os.Geteuid(), Ended: true}, describe(id)); diff != "" {
		t.Errorf("describe, want only the user (-want +got):\n%s", diff)
	}
}

func TestGraphical(t *testing.T) {
	t.Parallel()
	for want, environ := range map[bool][]string{
		true:  {"HOME=/x", "WAYLAND_DISPLAY=wayland-0"},
		false: {"HOME=/x", "DISPLAY=", "XDISPLAY=:0"},
	} {
		if got := graphical(environ); got != want {
			t.Errorf("graphical(%q) = %v", environ, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 41 42 43 34816 44 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2"
	want := stat{parent: 41, session: 43, tty: 34816, start: 98765}
	for _, tt := range []struct{ label, name string }{
		{"plain", "terraform"},
		{"empty", ""},
		{"spaces", "Web Content"},
		{"looks like the rest", "a) R 1 (b"},
		{"parentheses", ")(()"},
		{"line feed", "a\n) S 1 1 1"},
	} {
		t.Run(tt.label, func(t *testing.T) {
			t.Parallel()
			want := want
			want.name = tt.name
			got, err := parseStat([]byte("40 (" + tt.name + ")" + rest + "\n"))
			if err != nil || got != want {
				t.Errorf("parseStat = %+v, %v, want %+v", got, err, want)
			}
		})
	}
	for _, bad := range []string{"", "40", "40 (a", ") (", "40 (a) S 1 2", "40 (a)" + strings.Replace(rest, "98765", "-1", 1)} {
		if got, err := parseStat([]byte(bad)); !errors.Is(err, errStat) {
			t.Errorf("parseStat(%q) = %+v, %v, want %v", bad, got, err, errStat)
		}
	}
}

// Law: whatever a process calls itself, the numbers after its name are the
// kernel's.
func FuzzParseStat(f *testing.F) {
	f.Add("a) R 1 (b", 1, 2, 3, uint64(4))
	f.Add("", 0, 0, -1, uint64(1)<<63)
	f.Fuzz(func(t *testing.T, name string, parent, session, tty int, start uint64) {
		line := fmt.Sprintf("7 (%s) S %d 0 %d %d 0 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", name, parent, session, tty, start)
		got, err := parseStat([]byte(line))
		if want := (stat{name, parent, session, tty, start}); err != nil || got != want {
			t.Fatalf("parseStat(%q) = %+v, %v; want %+v", line, got, err, want)
		}
	})
}

// The script and the folder of a process are those of its command line and its working
// directory.
func TestClaimOfAProcess(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	cmd := exec.Command("sleep")
	cmd.Args, cmd.Dir = []string{"/opt/bin/python3.11", "999.5", "0.5"}, folder
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	st, err := readStat(cmd.Process.Pid)
	must(t, err)
	got := describe(identity{uid: os.Geteuid(), pid: cmd.Process.Pid, start: st.start}).Claim
	if want := "python3.11 999.5 in " + shortFolder(folder); got != want {
		t.Errorf("claim %q, want %q", got, want)
	}
}
