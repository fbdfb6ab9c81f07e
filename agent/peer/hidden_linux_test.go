package peer

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// ordinary is a user without rights. To root no process hides, so that the tests
// of this file run as such a user.
const ordinary = 61234

// capableEnv names a copy of the test binary that has a capability, as packages and
// images give one to vault.
const capableEnv = "STEPUP_TEST_PEER_CAPABLE"

// hideProcess does what gpg-agent, ssh-agent and our own commands do.
func hideProcess() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// TestHidden runs the tests of a user without rights.
func TestHidden(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a capability to a file; TestAsOrdinaryUser does the rest")
	}
	dir, err := os.MkdirTemp("", "peer") // t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	capable := filepath.Join(dir, "capable")
	must(t, errors.Join(os.Chmod(dir, 0o755), copyWithCapability(capable)))
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAsOrdinaryUser$", "-test.v")
	cmd.Env = []string{capableEnv + "=" + capable, "DISPLAY=:7", "PATH=" + os.Getenv("PATH")}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestAsOrdinaryUser") || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("as user %d: %v\n%s", ordinary, err, out)
	}
}

// copyWithCapability copies this binary and allows the copy to lock memory.
func copyWithCapability(path string) error {
	binaryOfOurs, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, binaryOfOurs, 0o755); err != nil {
		return err
	}
	// struct vfs_cap_data of linux/capability.h, revision 2 with the effective bit.
	data := make([]byte, 20)
	binary.LittleEndian.PutUint32(data, 0x02000001)
	binary.LittleEndian.PutUint32(data[4:], 1<<unix.CAP_IPC_LOCK)
	return unix.Setxattr(path, "security.capability", data, 0)
}

func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() == 0 {
		return // TestHidden starts it
	}
	for _, network := range []string{"tcp4", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Run("open", func(t *testing.T) { seeOpen(t, network) })
			t.Run("prctl", func(t *testing.T) {
				seeHidden(t, network, func(cmd *exec.Cmd) { cmd.Env[0] += " hidden" })
			})
			t.Run("capability", func(t *testing.T) {
				capable := os.Getenv(capableEnv)
				if capable == "" {
					t.Skip("needs root, to give a capability to a file")
				}
				if exe, err := os.Executable(); !HidesProcess(capable) || err == nil && HidesProcess(exe) {
					t.Errorf("HidesProcess: with a capability %t, without %t", HidesProcess(capable), HidesProcess(exe))
				}
				seeHidden(t, network, func(cmd *exec.Cmd) { cmd.Path = capable })
			})
			t.Run("ourselves", func(t *testing.T) { seeOurselves(t, network) })
		})
	}
	t.Run("gone", seeGone)
	t.Run("origin", seeOrigins)
}

// inSession starts a client without a terminal.
func inSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// seeOpen is the control: of a client that does not hide all is known.
func seeOpen(t *testing.T, network string) {
	pid, c := newFixture(t, network).dialFrom(inSession)
	p := c.Describe()
	if p.PID != pid || p.Exe == "" || p.Hidden || len(p.MayBe) > 0 || !p.Detached {
		t.Errorf("Describe() = %+v, want all of process %d", p, pid)
	}
}

// seeHidden looks at a client that hides. On TCP the kernel tells its user only, on
// a unix socket its number, with which everything that is public can be found.
func seeHidden(t *testing.T, network string, hide func(*exec.Cmd)) {
	pid, conn := newFixture(t, network).dialFrom(func(cmd *exec.Cmd) { inSession(cmd); hide(cmd) })
	st, err := readStat(pid)
	must(t, err)
	if err := conn.SameUser(); err != nil {
		t.Fatalf("SameUser() = %v", err)
	}
	p := conn.Describe()
	in, err := conn.DescendantOf(os.Getpid())
	if !p.Hidden || p.Exe != "" || p.UID != os.Getuid() || conn.Self() {
		t.Errorf("Describe() = %+v", p)
	}
	two := []*Lookup{{conn: &Conn{resolvePeer: conn.resolvePeer}}, {conn: &Conn{resolvePeer: conn.resolvePeer}}}
	DescribeAll(two)
	for _, l := range two {
		got := l.conn.Describe()
		// Another run of these tests has the same user, and programs that hide and end.
		if diff := cmp.Diff(p, got, cmpopts.IgnoreFields(Peer{}, "MayBe")); diff != "" || network != "unix" && !slices.Contains(got.MayBe, Candidate{pid, st.name}) {
			t.Errorf("with others: %+v (-alone +with):\n%s", got, diff)
		}
	}
	if network != "unix" {
		if p.PID != 0 || len(p.Chain) > 0 || len(p.MayBe) > maxCandidates || !slices.Contains(p.MayBe, Candidate{pid, st.name}) {
			t.Errorf("Describe() = %+v, want process %d (%s) among the candidates", p, pid, st.name)
		}
		if in || !errors.Is(err, ErrUnknown) {
			t.Errorf("DescendantOf = %t, %v, want %v", in, err, ErrUnknown)
		}
		if p.Session.ID != "" || p.Program.ID != "" {
			t.Errorf("Describe() = %+v, want nothing that it shares with others", p)
		}
		return
	}
	if p.PID != pid || len(p.MayBe) > 0 || len(p.Chain) < 2 || p.Chain[0] != st.name {
		t.Errorf("Describe() = %+v, want process %d by the name %s, and its parents", p, pid, st.name)
	}
	if p.Session.ID == "" || p.Program.ID != "" {
		t.Errorf("Describe() = %+v, want its session and no program", p)
	}
	// Its own environment names no display, ours may: it is ours that can be read.
	if want := !graphical(os.Environ()); p.Detached != want {
		t.Errorf("Describe() = %+v, want detached %t as we are", p, want)
	}
	if got := Environ(pid); !slices.Equal(got, os.Environ()) {
		t.Errorf("Environ() = %q, want our own", got)
	}
	if !in || err != nil {
		t.Errorf("DescendantOf = %t, %v", in, err)
	}
	if in, err := conn.DescendantOf(startIdle(t)); in || err != nil {
		t.Errorf("DescendantOf a brother = %t, %v", in, err)
	}
}

// seeOurselves hides this process, which still has to know its own connections.
func seeOurselves(t *testing.T, network string) {
	must(t, hideProcess())
	defer unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	_, server := newFixture(t, network).dial()
	conn := Identify(server)
	if p := conn.Describe(); p.PID != os.Getpid() || p.Exe == "" || p.Hidden || !conn.Self() {
		t.Errorf("Describe() = %+v, want this process", p)
	}
	if err := CheckTCP(); err != nil {
		t.Errorf("CheckTCP() = %v", err)
	}
	for _, c := range candidates(os.Getuid()) {
		if c.PID == os.Getpid() {
			t.Error("we are a candidate for connections of others")
		}
	}
}

// seeGone: of a client that has left nothing is said, also not that it hides.
func seeGone(t *testing.T) {
	client, server := newFixture(t, "tcp4").dial()
	conn := Identify(server)
	must(t, conn.SameUser())
	_ = client.Close()
	if diff := cmp.Diff(Peer{UID: os.Getuid()}, conn.Describe()); diff != "" {
		t.Errorf("Describe(), want only the user (-want +got):\n%s", diff)
	}
}
