package peer

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOrigin looks at processes in real folders. TestAsOrdinaryUser does so as a user
// without rights.
func TestOrigin(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to install a program; TestAsOrdinaryUser does the rest")
	}
	seeOrigins(t)
	dir := rootsFolder(t)
	vault := copyOfCat(t, filepath.Join(dir, "vault"))
	for _, tt := range []struct {
		name string
		mode func() error
		want Origin
	}{
		{"installed", func() error { return nil }, ""},
		{"a file that all may write to", func() error { return os.Chmod(vault, 0o757) }, OriginUser},
		{"a folder above that all may write to", func() error { return os.Chmod(dir, 0o777) }, OriginUser},
		{"a folder above that a group may write to", func() error { return os.Chmod(dir, 0o775) }, OriginUser},
		{"a folder of another user", func() error { return os.Chown(dir, ordinary, -1) }, OriginUser},
		{"a file of another user", func() error { return os.Chown(vault, ordinary, -1) }, OriginUser},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Running a file that is open for writing fails: the copy is made before.
			pid := startCat(t, exec.Command(vault))
			must(t, tt.mode())
			p := describeProcess(t, pid)
			if got := p.Origin(); got != tt.want || p.Exe != vault {
				t.Errorf("%s: origin %q, want %q", p.Exe, got, tt.want)
			}
			must(t, os.Chown(dir, 0, 0))
			must(t, os.Chown(vault, 0, 0))
			must(t, os.Chmod(dir, 0o755))
			must(t, os.Chmod(vault, 0o755))
		})
	}
	t.Run("replaced", func(t *testing.T) {
		pid := startCat(t, exec.Command(vault))
		must(t, os.Rename(copyOfCat(t, vault+".new"), vault))
		if got := describeProcess(t, pid).Origin(); got != OriginReplaced {
			t.Errorf("origin %q, want %q", got, OriginReplaced)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		pid := startCat(t, exec.Command(vault))
		must(t, os.Remove(vault))
		if got := describeProcess(t, pid).Origin(); got != OriginReplaced {
			t.Errorf("origin %q, want %q", got, OriginReplaced)
		}
	})
}

// seeOrigins are the cases of every user.
func seeOrigins(t *testing.T) {
	cat, err := exec.LookPath("cat")
	must(t, err)
	t.Run("of the system", func(t *testing.T) { seeOrigin(t, exec.Command(cat), "") })
	t.Run("in a folder of all", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o777))
		seeOrigin(t, exec.Command(copyOfCat(t, filepath.Join(dir, "vault"))), OriginUser)
	})
	t.Run("deeper in a folder of all", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755))
		must(t, os.Chmod(dir, 0o777))
		seeOrigin(t, exec.Command(copyOfCat(t, filepath.Join(dir, "usr/bin/vault"))), OriginUser)
	})
	t.Run("in memory", func(t *testing.T) {
		fd, err := unix.MemfdCreate("vault", unix.MFD_CLOEXEC)
		must(t, err)
		f := os.NewFile(uintptr(fd), "vault")
		defer f.Close()
		original, err := os.Open(cat)
		must(t, err)
		defer original.Close()
		_, err = io.Copy(f, original)
		must(t, err)
		cmd := exec.Command("/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{f}
		seeOrigin(t, cmd, OriginReplaced)
	})
	if os.Geteuid() != 0 {
		t.Run("of one's own", func(t *testing.T) {
			seeOrigin(t, exec.Command(copyOfCat(t, filepath.Join(t.TempDir(), "vault"))), OriginUser)
		})
	}
	t.Run("under a path of the system, by mounts of its own", func(t *testing.T) {
		flags := "-m"
		if os.Geteuid() != 0 {
			flags = "-rm"
		}
		if err := exec.Command("unshare", flags, "mount", "--bind", "/tmp", "/tmp").Run(); err != nil {
			t.Log("not tried, this machine lets nobody mount: ", err)
			return
		}
		copied := copyOfCat(t, filepath.Join(t.TempDir(), "vault"))
		where, err := filepath.EvalSymlinks(cat)
		must(t, err)
		cmd := exec.Command("unshare", flags, "sh", "-c", `mount --bind "$1" "$2" && exec "$2"`, "sh", copied, where)
		if p := seeOrigin(t, cmd, OriginSandbox); p.Exe != where {
			t.Errorf("the kernel gives the path %s, want that of the system, %s", p.Exe, where)
		}
	})
	t.Run("ended", func(t *testing.T) {
		for want, p := range map[Origin]Peer{
			OriginUnknown: {PID: 1 << 30, Exe: cat}, "": {PID: 7, UID: -1},
		} {
			if got := p.Origin(); got != want {
				t.Errorf("%+v: origin %q, want %q", p, got, want)
			}
		}
		if got := (Peer{PID: os.Getpid(), Exe: "bin/vault"}).Origin(); got != OriginUnknown {
			t.Errorf("a path without a beginning: origin %q", got)
		}
	})
}

func seeOrigin(t *testing.T, cmd *exec.Cmd, want Origin) Peer {
	t.Helper()
	p := describeProcess(t, startCat(t, cmd))
	if got := p.Origin(); got != want {
		t.Errorf("%s: origin %q, want %q", p.Exe, got, want)
	}
	return p
}

// rootsFolder is a folder that only root can change.
func rootsFolder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// copyOfCat copies cat by a program: a file that this process has open for writing may be
// inherited by a process of another test, and could not be run then.
func copyOfCat(t *testing.T, path string) string {
	t.Helper()
	cat, err := exec.LookPath("cat")
	must(t, err)
	must(t, exec.Command("cp", cat, path).Run())
	must(t, os.Chmod(path, 0o755))
	return path
}

// startCat starts a copy of cat, and waits until it runs.
func startCat(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	cmd.Dir = "/"
	if !strings.Contains(cmd.Path, "unshare") {
		cmd.Args = []string{"cat"}
	}
	in, out := start(t, cmd)
	_, err := io.WriteString(in, "it runs\n")
	must(t, err)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "it runs\n" {
		t.Fatalf("%v said %q, %v", cmd, line, err)
	}
	return cmd.Process.Pid
}

func describeProcess(t *testing.T, pid int) Peer {
	t.Helper()
	st, err := readStat(pid)
	must(t, err)
	return describe(identity{uid: os.Geteuid(), pid: pid, start: st.start})
}
