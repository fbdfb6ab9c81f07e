package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vault-stepup/stepup/packaging"
)

// insideVariable says to a process of this test that it is in the namespaces in
// which a user's systemd can run. Its value is the process outside.
const insideVariable = "STEPUP_TEST_INSIDE"

// noNamespace is the exit code of enterScript where it cannot do its work.
const noNamespace = 77

// enterScript makes a place for the systemd of a user on a machine that no systemd
// runs: a control group of its own, a /run that looks booted, and processes that
// end with their first. $1 is the name of the group, the rest the program.
const enterScript = `
group=$1; shift
entered=no
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
	[ -e $tree/cgroup.procs ] || continue
	mkdir -p $tree/$group && echo $$ >$tree/$group/cgroup.procs && entered=yes
done
[ $entered = yes ] || exit 77
exec unshare --mount --pid --fork --kill-child --mount-proc --cgroup sh -c '
	mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user/0 && chmod 700 /run/user/0 || exit 77
	exec "$@"' sh "$@"
`

// TestUserSystemd installs, starts, changes, stops and removes the service with a
// real systemd of a user. Where the kernel does not let one be started, there is
// only [TestServiceScript], which records the calls.
func TestUserSystemd(t *testing.T) {
	if os.Getenv(insideVariable) != "" {
		runUserScripts(t)
		return
	}
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, for a control group and namespaces")
	}
	for _, program := range []string{systemdProgram, "systemctl", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	group := fmt.Sprintf("stepup-test-%d", os.Getpid())
	t.Cleanup(func() { removeGroup(t, group) })
	cmd := exec.Command("sh", "-c", enterScript, "sh", group, os.Args[0], "-test.run=^TestUserSystemd$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideVariable+"="+strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if testing.Verbose() {
		t.Logf("%s", out)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == noNamespace,
		err != nil && bytes.Contains(out, []byte("unshare: ")) && !bytes.Contains(out, []byte("=== RUN")),
		bytes.Contains(out, []byte(noManager)):
		t.Logf("no user's systemd can be started here, so only recorded calls are checked: %s", out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case !bytes.Contains(out, []byte("--- PASS: TestUserSystemd")):
		t.Errorf("nothing ran:\n%s", out)
	}
}

// noManager begins what is said where everything is in place and still no
// systemd comes up.
const noManager = "systemd --user does not come up here"

const systemdProgram = "/lib/systemd/systemd"

// removeGroup removes the control groups of the processes, which have ended; the
// kernel may still be counting them.
func removeGroup(t *testing.T, group string) {
	deadline := time.Now().Add(patience)
	for _, tree := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		top := filepath.Join(tree, group)
		for {
			var dirs []string
			_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				_ = syscall.Rmdir(dirs[i])
			}
			if len(dirs) == 0 || time.Now().After(deadline) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if _, err := os.Stat(top); err == nil {
			t.Logf("%s is left", top)
		}
	}
}

// runUserScripts runs where enterScript has led to.
func runUserScripts(t *testing.T) {
	runScripts(t, "systemd", nil, func(env *testscript.Env) error {
		env.Setenv("XDG_RUNTIME_DIR", "/run/user/0")
		for _, name := range []string{"STEPUP_CONFIG", "STEPUP_RUNTIME_DIR", "STEPUP_STATE_DIR"} {
			env.Setenv(name, "")
		}
		outer, err := strconv.Atoi(os.Getenv(insideVariable))
		if err != nil {
			return err
		}
		env.Setenv("ADDRESS", ownAddress(outer, 8102))
		return startUserManager(env)
	})
}

func startUserManager(env *testscript.Env) error {
	home := env.Getenv("HOME")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	manager := exec.Command(systemdProgram, "--user", "--log-target=console", "--log-level=info")
	manager.Env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + env.Getenv("XDG_RUNTIME_DIR"), "PATH=/usr/local/bin:/usr/bin:/bin", "GORACE=atexit_sleep_ms=0"}
	log, err := os.Create(filepath.Join(env.WorkDir, "manager.log"))
	if err != nil {
		return err
	}
	manager.Stdout, manager.Stderr = log, log
	if err := manager.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = manager.Wait(); close(ended) }()
	env.Defer(func() {
		_ = manager.Process.Signal(syscall.SIGTERM) // the way in which a manager is told to end
		select {
		case <-ended:
		case <-time.After(patience):
			_ = manager.Process.Kill()
			<-ended
		}
		_ = log.Close()
	})
	private := filepath.Join(env.Getenv("XDG_RUNTIME_DIR"), "systemd", "private")
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(private); err == nil {
			return nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s: it has ended: %s", noManager, text)
		default:
		}
		if time.Now().After(deadline) {
			return errors.New(noManager)
		}
	}
}

// TestUnitsAreSound lets systemd read the units, those of odd paths too.
func TestUnitsAreSound(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	odd := filepath.Join(t.TempDir(), `al ice`, `100%h`, `$HOME`, `"q" it's`, `back\slash`)
	if err := os.MkdirAll(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(filepath.Dir(odd)), "stepup")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]packaging.Agent{
		"package": {Program: "/bin/true", RuntimeDir: "/run/user/0", Listen: []packaging.Address{{Network: "tcp", Name: "127.0.0.1:8100"}, {Network: "unix", Name: "/run/user/0/stepup/vault.sock"}}},
		"alone":   {Program: "/bin/true"},
		"odd": {
			Program: program, Config: odd + "/stepup.hcl", Env: []string{"STEPUP_STATE_DIR=" + odd},
			Listen: []packaging.Address{{Network: "tcp", Name: "[::1]:8100"}, {Network: "unix", Name: odd + "/vault.sock"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := packaging.Systemd(a)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			args := []string{"--user", "--man=no", "verify"}
			for _, f := range files {
				path := filepath.Join(dir, f.Name)
				if err := os.WriteFile(path, []byte(f.Sealed()), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, path)
			}
			cmd := exec.Command("systemd-analyze", args...)
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir)
			out, err := cmd.CombinedOutput()
			// systemd has a word about other units of the machine, too.
			if err != nil || strings.Contains(string(out), "stepup") {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
		})
	}
}
