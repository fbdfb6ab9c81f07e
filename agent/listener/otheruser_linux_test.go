//go:build linux

package listener

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vault-stepup/stepup/agent/peer"
)

const (
	stranger  = 65534
	clientEnv = "STEPUP_TEST_LISTENER_CLIENT" // what the stranger does: WORD NETWORK ADDRESS
)

// TestStrangerProcess is not a test but what the second user runs; without the
// variable there is nothing to do.
func TestStrangerProcess(t *testing.T) {
	spec, ok := os.LookupEnv(clientEnv)
	if !ok {
		return
	}
	f := strings.Fields(spec)
	if err := beStranger(f[0], f[1], f[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beStranger asks for something and prints the answer, holds a connection until
// its standard input ends, waits for the end of one, or sends and leaves at once,
// many times.
func beStranger(what, network, address string) error {
	request := "GET /v1/secret HTTP/1.1\r\nHost: localhost\r\nX-Vault-Request: true\r\n\r\n"
	if what == "ask" {
		c, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		fmt.Println(resp.StatusCode)
		_, err = io.Copy(os.Stdout, resp.Body)
		return err
	}
	if what == "idle" {
		start := time.Now()
		c, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err = io.Copy(io.Discard, c); err == nil {
			fmt.Println(time.Since(start))
		}
		return err
	}
	if what == "hold" {
		c, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}
	for range 200 {
		c, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, strings.Replace(request, "localhost", address, 1))
		if what == "reset" {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	return nil
}

// runStranger runs this binary as a second user and returns its output.
func runStranger(t *testing.T, what string, addr net.Addr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	// This path reaches the binary without its folder, which is root's own.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStrangerProcess$")
	cmd.Env = []string{clientEnv + "=" + what + " " + addr.Network() + " " + addr.String()}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the second user: %v, %s", err, stderr.String())
	}
	return string(out)
}

func TestGuardRefusesOtherUser(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address, reports := freeAddress(t, network), make(chan peer.Peer, 1)
			s := newFixture(t, network, address, &Guard{OnRefuse: func(reason string, p peer.Peer) {
				if reason != RefusedUser {
					t.Errorf("reason = %q, want %q", reason, RefusedUser)
				}
				reports <- p
			}})
			if network == "unix" {
				// Neither folder nor mode keeps them out any more; the guard does.
				for path, mode := range map[string]os.FileMode{address: 0o666, filepath.Dir(address): 0o755} {
					if err := os.Chmod(path, mode); err != nil {
						t.Fatal(err)
					}
				}
			}
			out := runStranger(t, "ask", s.addr)
			if !strings.HasPrefix(out, "403\n{\"errors\":[\"stepup: ") {
				t.Fatalf("the second user got %q, want 403", out)
			}
			if p := <-reports; p.UID != stranger || p.Exe != "" {
				t.Errorf("reported peer = %+v, want only the user", p)
			}
			if n := s.served.Load(); n != 0 {
				t.Errorf("%d requests of the second user were served", n)
			}
		})
	}
}

// A stranger that sends and leaves at once is shown by the kernel as root with
// inode 0. None of those requests may be served, however late they are accepted.
func TestGuardRefusesOrphans(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"close", "reset"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, start := newStoppedFixture(t, "tcp", "127.0.0.1:0", &Guard{})
			runStranger(t, what, s.addr) // all 200 are gone before the first is accepted
			start()
			runStranger(t, what, s.addr) // and these come and go while others are served
			resp, _ := s.send(t, "GET /v1/own HTTP/1.1\r\nHost: "+s.addr.String()+"\r\n\r\n")
			if resp.StatusCode != 200 {
				t.Errorf("our own request got %d", resp.StatusCode)
			}
			s.stop() // waits for every request
			if n := s.served.Load(); n != 1 {
				t.Errorf("%d requests were served, want only our own", n)
			}
		})
	}
}

// Modes alone keep a second user out, before the guard is asked.
func TestSocketModeKeepsOthersOut(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	address := socketPath(t)
	s := newFixture(t, "unix", address, &Guard{})
	if err := os.Chmod(filepath.Dir(address), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStrangerProcess$")
	cmd.Env = []string{clientEnv + "=ask unix " + address}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("the second user got %q, %v, want permission denied", out, err)
	}
	if n := s.served.Load(); n != 0 {
		t.Errorf("%d requests were served", n)
	}
}

// A socket file never has a wider mode than its final one, whatever the umask.
func TestSocketModeFromTheStart(t *testing.T) {
	// Not parallel: the umask belongs to the whole process.
	defer syscall.Umask(syscall.Umask(0))
	dir := privateTempDir(t)
	path := filepath.Join(dir, "s")
	lc := net.ListenConfig{Control: privateSocket}
	ln, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v before chmod, want 0600", info.Mode().Perm())
	}
}

// A child that was forked and has not executed yet holds a copy of the lock's
// descriptor; release must end the lock all the same.
func TestReleaseEndsInheritedLock(t *testing.T) {
	t.Parallel()
	dir := privateTempDir(t)
	release, err := LockRuntimeDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	copied := -1
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); to == filepath.Join(dir, "agent.lock") {
			n, err := strconv.Atoi(fd.Name())
			if err != nil {
				t.Fatal(err)
			}
			if copied, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if copied < 0 {
		t.Fatal("the lock is not open")
	}
	defer unix.Close(copied)
	release.Release()
	again, err := LockRuntimeDir(dir)
	if err != nil {
		t.Fatalf("second lock: %v", err)
	}
	again.Release()
}

// What looks like our own connection by one end only, and comes from another
// process, is an app's.
func TestLoopLeavesOtherProcessesAlone(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			ln, err := Listen(t.Context(), network, freeAddress(t, network))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestStrangerProcess$")
			cmd.Env = []string{clientEnv + "=hold " + network + " " + ln.Addr().String()}
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close(); _ = cmd.Wait() }()
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			app := peer.Identify(c)
			if got := app.Describe().PID; got != cmd.Process.Pid {
				t.Fatalf("client is process %d, want %d", got, cmd.Process.Pid)
			}
			l := &Loop{}
			if network == "unix" {
				l.add("", endName(c.LocalAddr())) // an upstream that is this socket
			} else {
				l.add(endName(c.RemoteAddr()), "192.0.2.1:8200")
			}
			if l.contains(app) {
				t.Error("an app is taken for the agent itself")
			}
		})
	}
}

// A stranger's connection that sends nothing ends soon, and one of ours does not.
func TestIdleStrangerIsClosed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as a second user")
	}
	s := newFixture(t, "tcp", "127.0.0.1:0", &Guard{})
	own, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	// It would stay for ten seconds, if it were one of ours.
	open, err := time.ParseDuration(strings.TrimSpace(runStranger(t, "idle", s.addr)))
	if err != nil || open < OtherUsersTime/2 || open >= readHeaderTimeout {
		t.Errorf("an idle connection of a stranger was open for %v, %v", open, err)
	}
	if resp, _ := exchange(t, own, "GET /v1/own HTTP/1.1\r\nHost: "+s.addr.String()+"\r\n\r\n"); resp.StatusCode != http.StatusOK {
		t.Errorf("our own older connection got %d", resp.StatusCode)
	}
}
