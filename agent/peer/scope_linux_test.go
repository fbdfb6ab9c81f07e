package peer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// onTerminal runs a shell script as the leader of a session with a terminal of its own. In it,
// "$0" is a client; each holds its connection until the terminal goes away with the test.
func (f fixture) onTerminal(script string, clients int) []Peer {
	f.t.Helper()
	exe, err := os.Executable()
	must(f.t, err)
	cmd := exec.Command("sh", "-c", script, exe)
	cmd.Env = append(os.Environ(), clientEnv+"="+f.ln.Addr().Network()+" "+f.ln.Addr().String())
	tty, err := pty.Start(cmd)
	must(f.t, err)
	// Nothing reads the terminal: a read that waits would keep it open, and what has left the
	// group of the shell would stay. The clients print a line each.
	f.t.Cleanup(func() {
		_ = tty.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	var all []Peer
	for range clients {
		all = append(all, Identify(f.accept()).Describe())
	}
	return all
}

// What counts as one terminal, for real processes.
func TestSession(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp4", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, network)
			one := f.onTerminal(`exec 3<&0; "$0" <&3 & sh -c '"$0" <&3 & wait' "$0" & wait`, 2)
			two := f.onTerminal(`"$0"; :`, 1)
			for _, p := range append(one, two...) {
				if p.Session.ID == "" || !strings.HasPrefix(p.Session.Name, "terminal pts/") || !strings.Contains(p.Session.Name, "of ") {
					t.Errorf("a program on a terminal: %+v", p.Session)
				}
			}
			if one[0].Session != one[1].Session {
				t.Errorf("two programs of one terminal: %+v, %+v", one[0].Session, one[1].Session)
			}
			if one[0].Session.ID == two[0].Session.ID {
				t.Errorf("two terminals are one: %+v", two[0].Session)
			}

			// A program that has left the terminal belongs to it while its parent does.
			left := f.onTerminal(`exec 3<&0; setsid -w "$0" <&3 & "$0" <&3 & wait`, 2)
			if left[0].Session != left[1].Session || left[0].Session.ID == "" {
				t.Errorf("after setsid: %+v, %+v", left[0].Session, left[1].Session)
			}
			// The same terminal under a new leader (su -, script) is another session.
			inner := f.onTerminal(`exec 3<&0; "$0" <&3 & script -qc "$0" /dev/null <&3 & wait`, 2)
			if _, err := exec.LookPath("script"); err == nil && inner[0].Session.ID == inner[1].Session.ID {
				t.Errorf("a terminal in a terminal: %+v", inner[0].Session)
			}
			// Containers: a PID namespace on the terminal belongs to it, one with a terminal of
			// its own does not.
			if out, err := exec.Command("unshare", "-pf", "true").CombinedOutput(); err != nil {
				t.Logf("no containers: %v %s", err, out)
				return
			}
			on := f.onTerminal(`exec 3<&0; "$0" <&3 & unshare -pf "$0" <&3 & wait`, 2)
			if on[0].Session != on[1].Session || on[0].Session.ID == "" {
				t.Errorf("in a container: %+v, %+v", on[0].Session, on[1].Session)
			}
			own := f.onTerminal(`exec 3<&0; "$0" <&3 & unshare -pf script -qc "$0" /dev/null <&3 & wait`, 2)
			if own[0].Session.ID == own[1].Session.ID || own[0].Session.ID == "" || own[1].Session.ID == "" {
				t.Errorf("in a container with a terminal: %+v, %+v", own[0].Session, own[1].Session)
			}
		})
	}
}

// Programs without a terminal: those of one service or application are together, with no others.
func TestSessionWithoutTerminal(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "tcp4")
	detached := func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
	_, a := f.dialFrom(detached)
	_, b := f.dialFrom(detached)
	if x, y := a.Describe().Session, b.Describe().Session; x != y || x.ID == "" {
		t.Errorf("two programs of one application: %+v, %+v", x, y)
	}
	on := f.onTerminal(`"$0"; :`, 1)[0]
	if on.Session == a.Describe().Session {
		t.Errorf("a terminal is the application around it: %+v", on.Session)
	}
}

// tmux gives each pane a terminal and a session of its own.
func TestSessionTmux(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux")
	}
	f := newFixture(t, "tcp4")
	dir, err := os.MkdirTemp("", "su")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe, err := os.Executable()
	must(t, err)
	tmux := func(args ...string) {
		cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(dir, "s"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), clientEnv+"=tcp4 "+f.ln.Addr().String(), "TMUX=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tmux %v: %v %s", args, err, out)
		}
	}
	tmux("new-session", "-d", exe)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", filepath.Join(dir, "s"), "kill-server").Run() })
	one := Identify(f.accept()).Describe()
	tmux("split-window", exe)
	two := Identify(f.accept()).Describe()
	if one.Session.ID == "" || two.Session.ID == "" || one.Session.ID == two.Session.ID {
		t.Errorf("two panes: %+v, %+v", one.Session, two.Session)
	}
}

// A program is its file: another file of the same content, or in its place, is another.
func TestProgram(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "tcp4")
	exe, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), "vault")
	seen := make(map[string]string)
	for _, which := range []string{"itself", "a copy", "one in its place"} {
		if which != "itself" {
			_ = os.Rename(path, path+".old")
			// By another process: a file that this one writes may be open in a child of it.
			must(t, exec.Command("cp", exe, path).Run())
		}
		for range 2 {
			_, c := f.dialFrom(func(cmd *exec.Cmd) {
				if which != "itself" {
					cmd.Path = path
				}
			})
			b := c.Describe().Program
			if was, ok := seen[b.ID]; b.ID == "" || ok && was != which {
				t.Errorf("%s: %+v, which is %s", which, b, was)
			}
			seen[b.ID] = which
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d programs, want 3: %v", len(seen), seen)
	}
}

// A file that was written to keeps its number, and is another program all the same.
func TestProgramWrittenTo(t *testing.T) {
	t.Parallel()
	path := copyOfCat(t, filepath.Join(t.TempDir(), "vault"))
	run := func() Binding {
		cmd := exec.Command(path)
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		defer func() { _ = in.Close(); _ = cmd.Wait() }()
		p, err := readProcess(cmd.Process.Pid)
		must(t, err)
		return program(p)
	}
	before, again := run(), run()
	if before.ID == "" || again != before {
		t.Errorf("the same program: %+v, %+v", before, again)
	}
	copyOfCat(t, path)
	if after := run(); after.ID == "" || after.ID == before.ID {
		t.Errorf("after a write: %+v", after)
	}
}

// What the table of docs/users.md says, for processes as the systems have them that a test
// cannot start: the user is 1000, and each list is from a process up to the first of the system.
func TestSessionTable(t *testing.T) {
	t.Parallel()
	const user, root, pts3 = 1000, 0, 34816 + 3
	at := func(pid, parent, uid int, cgroup, name string) place {
		return place{process: process{pid: pid, parent: parent, start: uint64(pid), name: name}, uid: uid, cgroup: cgroup}
	}
	on := func(p place, session, tty int) place {
		p.session, p.tty = session, tty
		return p
	}
	const ssh, cron, app, service = "0::/user.slice/session-4.scope\n", "0::/system.slice/cron.service\n", "0::/app-code-90.scope\n", "0::/app.slice/deploy.service\n"
	for name, tt := range map[string]struct {
		tree []place
		want string // the name of the binding of tree[0]
	}{
		"ssh with a terminal": {[]place{on(at(50, 40, user, ssh, "vault"), 40, pts3), on(at(40, 30, user, ssh, "bash"), 40, pts3),
			at(30, 20, user, ssh, "sshd"), at(20, 1, root, "0::/system.slice/ssh.service\n", "sshd")}, "terminal pts/3 of bash (pid 40)"},
		"ssh with a command": {[]place{at(50, 40, user, ssh, "vault"), at(40, 30, user, ssh, "bash"), at(30, 20, user, ssh, "sshd"),
			at(20, 1, root, ssh, "sshd")}, "application sshd (pid 30)"},
		"cron": {[]place{at(50, 40, user, cron, "vault"), at(40, 30, user, cron, "sh"), at(30, 20, root, cron, "cron")},
			"application sh (pid 40)"},
		"a user's service": {[]place{at(50, 40, user, service, "vault"), at(40, 30, user, service, "deploy.sh"),
			at(30, 1, user, "0::/user@1000.service/init.scope\n", "systemd")}, "application deploy.sh (pid 40)"},
		"a desktop application": {[]place{at(50, 40, user, app, "vault"), at(40, 30, user, app, "code"), at(30, 20, user, app, "code"),
			at(20, 1, user, "0::/app.slice/org.gnome.Shell@wayland.service\n", "gnome-shell")}, "application code (pid 30)"},
		"a terminal of an IDE": {[]place{on(at(60, 50, user, app, "vault"), 50, pts3), on(at(50, 30, user, app, "zsh"), 50, pts3),
			at(30, 1, user, app, "code")}, "terminal pts/3 of zsh (pid 50)"},
		"a container of another cgroup": {[]place{at(50, 40, user, "0::/libpod-1.scope\n", "vault"), at(40, 1, user, "0::/libpod-1.scope/conmon\n", "conmon")},
			"application vault (pid 50)"},
		"the parent has ended":         {[]place{at(50, 40, user, app, "vault")}, "application vault (pid 50)"},
		"the parent is a later one":    {[]place{at(50, 60, user, app, "vault"), at(60, 1, user, app, "other")}, "application vault (pid 50)"},
		"no cgroups":                   {[]place{at(50, 40, user, "", "vault"), at(40, 1, user, "", "sh")}, "application vault (pid 50)"},
		"the leader has ended":         {[]place{on(at(50, 1, user, app, "vault"), 40, pts3)}, ""},
		"another has its number":       {[]place{on(at(50, 1, user, app, "vault"), 40, pts3), on(at(40, 1, user, app, "bash"), 30, pts3)}, ""},
		"the leader is in another one": {[]place{on(at(50, 1, user, app, "vault"), 40, pts3), on(at(40, 1, user, app, "bash"), 40, pts3+1)}, ""},
		"the leader is a later one":    {[]place{on(at(50, 1, user, app, "vault"), 60, pts3), on(at(60, 1, user, app, "bash"), 60, pts3)}, ""},
		"a PID namespace around ours":  {[]place{on(at(50, 0, user, app, "vault"), 0, pts3)}, ""},
		"a circle":                     {[]place{at(50, 50, user, app, "vault")}, ""},
	} {
		s := sessions{uid: user, clock: "boot", read: func(pid int) (place, error) {
			for _, p := range tt.tree {
				if p.pid == pid && pid > 0 {
					return p, nil
				}
			}
			return place{}, os.ErrNotExist
		}}
		if got := s.of(tt.tree[0]); got.Name != tt.want || (got.ID == "") != (tt.want == "") {
			t.Errorf("%s: %+v, want %s", name, got, tt.want)
		}
	}
}

// Another run of the machine may give all the numbers again.
func TestSessionOfAnotherBoot(t *testing.T) {
	t.Parallel()
	p := process{pid: 40, start: 7, name: "bash"}
	if a, b := bindingTo("terminal", p, "one"), bindingTo("terminal", p, "two"); a.ID == b.ID || a.Name != b.Name {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestTTYName(t *testing.T) {
	t.Parallel()
	for tty, want := range map[int]string{34816: "pts/0", 34816 + 3: "pts/3", 137 << 8: "pts/256", 1025: "tty1", 0x0501: "5:1"} {
		if got := ttyName(tty); got != want {
			t.Errorf("%d is %s, want %s", tty, got, want)
		}
	}
}
