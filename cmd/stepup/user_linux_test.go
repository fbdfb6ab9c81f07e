package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// ordinary is a user without rights. Root may look into every process, so that what
// a process keeps from others of its user is tested as such a user.
const ordinary = 61234

// capableEnv names a folder of root with a vaultget that has a capability, and another one
// in the folder plain.
const capableEnv = "STEPUP_TEST_CAPABLE"

// hideProcess does what a program does that hides.
func hideProcess() {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestOrdinaryUser runs TestUserScript as an ordinary user, in a folder that such a
// user may enter.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a capability to a file")
	}
	dir, err := os.MkdirTemp("", "user") // t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	capable := filepath.Join(dir, "capable")
	must(t, errors.Join(
		os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(capable, "plain"), 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o700),
		os.CopyFS(filepath.Join(dir, "testdata/user"), os.DirFS("testdata/user")),
		copyOfOurs(filepath.Join(dir, "stepup.test")), copyOfOurs(filepath.Join(capable, "vaultget")),
		copyOfOurs(filepath.Join(capable, "plain/vaultget")),
	))
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o755))
	}))
	// That user's own: what others may write to is refused.
	must(t, errors.Join(os.Chown(filepath.Join(dir, "tmp"), ordinary, ordinary), os.Chmod(filepath.Join(dir, "tmp"), 0o700)))
	// struct vfs_cap_data of linux/capability.h, revision 2 with the effective bit.
	data := make([]byte, 20)
	binary.LittleEndian.PutUint32(data, 0x02000001)
	binary.LittleEndian.PutUint32(data[4:], 1<<unix.CAP_IPC_LOCK)
	must(t, unix.Setxattr(filepath.Join(capable, "vaultget"), "security.capability", data, 0))

	cmd := exec.Command(filepath.Join(dir, "stepup.test"), "-test.run=^TestUserScript$", "-test.v")
	cmd.Env = []string{
		capableEnv + "=" + capable, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + filepath.Join(dir, "tmp"), "HOME=" + filepath.Join(dir, "tmp"),
	}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestUserScript") || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("as user %d: %v\n%s", ordinary, err, out)
	}
}

func copyOfOurs(path string) error {
	ours, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(path, ours, 0o755)
}

// TestUserScript runs the scripts of testdata/user, where there are programs that
// hide, and in which our own processes are looked at.
func TestUserScript(t *testing.T) {
	if os.Geteuid() == 0 {
		return // TestOrdinaryUser starts it
	}
	capable := os.Getenv(capableEnv)
	commands := scriptCommands()
	commands["open"], commands["closed"] = openProcess, closedProcess
	testscript.Run(t, testscript.Params{
		Dir: "testdata/user", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true, Cmds: commands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CAPABLE", capable)
			return newFixture(env)
		},
		Condition: func(name string) (bool, error) { return name == "capable" && capable != "", nil },
	})
}

// waysIn tries each way into a process that its user has, and says which is closed.
func waysIn(pid int) map[string]error {
	dir := fmt.Sprintf("/proc/%d/", pid)
	results := make(map[string]error)
	for _, name := range []string{"mem", "environ", "maps", "auxv"} {
		f, err := os.Open(dir + name)
		if err == nil {
			_ = f.Close()
		}
		results[name] = err
	}
	_, results["fd"] = os.ReadDir(dir + "fd")
	_, results["exe"] = os.Readlink(dir + "exe")
	return results
}

// attachDebugger does what gdb and gcore begin with.
func attachDebugger(pid int) error {
	done := make(chan error)
	go func() {
		// A debugger is a thread. This one ends with its goroutine, and lets go.
		runtime.LockOSThread()
		done <- unix.PtraceSeize(pid)
	}()
	return <-done
}

// processOf is the agent's process, or that in a file of the script.
func processOf(ts *testscript.TestScript, args []string) int {
	if len(args) != 1 {
		ts.Fatalf("usage: open|closed agent|FILE")
	}
	if args[0] == "agent" {
		s, err := clientOf(ts).Status(context.Background())
		ts.Check(err)
		return s.PID
	}
	pid := 0
	eventually(ts, "a number is in "+args[0], func() bool { // its shell has made the file, and then writes
		var err error
		pid, err = strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
		return err == nil
	})
	return pid
}

// openProcess is the script command: open agent|FILE says that each process of the
// user may look into that one.
func openProcess(ts *testscript.TestScript, _ bool, args []string) {
	pid := processOf(ts, args)
	eventually(ts, "it can be looked at", func() bool {
		for _, err := range waysIn(pid) {
			if err != nil {
				return false
			}
		}
		return true
	})
}

// closedProcess is the script command: closed agent|FILE says that none may, also
// not as a debugger, and that it leaves no core file. The script has started the
// process a moment ago, as a shell perhaps.
func closedProcess(ts *testscript.TestScript, _ bool, args []string) {
	pid := processOf(ts, args)
	eventually(ts, "it is closed", func() bool {
		for _, err := range waysIn(pid) {
			if !errors.Is(err, fs.ErrPermission) {
				return false
			}
		}
		return true
	})
	if err := attachDebugger(pid); !errors.Is(err, unix.EPERM) {
		ts.Fatalf("attaching a debugger: %v", err)
	}
	// stepup exec has the limit from before for the moment in which it starts its command.
	eventually(ts, "it leaves no core file", func() bool {
		var core unix.Rlimit
		ts.Check(unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &core))
		return core.Cur == 0
	})
}
