//go:build unix

package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/session"
)

// A fixture is a machine on which sessions are looked for.
type fixture struct {
	requester []string // its environment; nil is none that can be read
	manager   []string
	own       []string
	listening []string // network and address
}

// finder looks for sessions there.
func (f fixture) finder(t *testing.T) session.Finder {
	proc := t.TempDir()
	if f.requester != nil {
		if err := os.MkdirAll(filepath.Join(proc, "4711"), 0o700); err != nil {
			t.Fatal(err)
		}
		raw := strings.Join(f.requester, "\x00") + "\x00"
		if err := os.WriteFile(filepath.Join(proc, "4711", "environ"), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return session.Finder{
		Proc: proc,
		UserEnvironment: func(context.Context) (string, error) {
			if f.manager == nil {
				return "DISPLAY=:9", errors.New("exit status 1")
			}
			return strings.Join(f.manager, "\n") + "\n", nil
		},
		Environ: func() []string { return f.own },
		Reachable: func(_ context.Context, network, address string) bool {
			return slices.Contains(f.listening, network+" "+address)
		},
	}
}

func TestFindSession(t *testing.T) {
	t.Parallel()
	const x0, x1 = "unix /tmp/.X11-unix/X0", "unix /tmp/.X11-unix/X1"
	for _, c := range []struct {
		name string
		f    fixture
		want prompt.Session
		err  error
	}{
		{"the requester's own", fixture{
			requester: []string{
				"PATH=/evil", "LD_PRELOAD=/evil.so", "DISPLAY=:0", "XAUTHORITY=/home/a/.Xauthority", "XDG_RUNTIME_DIR=/run/user/7",
				"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/7/bus", "XDG_CURRENT_DESKTOP=KDE", "XDG_SESSION_TYPE=x11",
			},
			manager: []string{"DISPLAY=:1"}, own: []string{"DISPLAY=:1"}, listening: []string{x0, x1, "unix /run/user/7/bus"},
		}, prompt.Session{
			Display: ":0", XAuthority: "/home/a/.Xauthority", RuntimeDir: "/run/user/7", BusAddress: "unix:path=/run/user/7/bus",
			Desktop: "KDE", Type: "x11",
		}, nil},
		{"the service manager's", fixture{requester: []string{"A=b"}, manager: []string{"DISPLAY=:1"}, own: []string{"DISPLAY=:0"}, listening: []string{x0, x1}},
			prompt.Session{Display: ":1"}, nil},
		{"ours", fixture{own: []string{"DISPLAY=:0"}, listening: []string{x0, x1}}, prompt.Session{Display: ":0"}, nil},
		{"of a display that has crashed", fixture{requester: []string{"DISPLAY=:0"}, manager: []string{"DISPLAY=:1"}, listening: []string{x1}},
			prompt.Session{Display: ":1"}, nil},
		{"Wayland", fixture{requester: []string{"WAYLAND_DISPLAY=wayland-0", "XDG_RUNTIME_DIR=/r", "DISPLAY=:0"}, listening: []string{"unix /r/wayland-0", "unix /r/bus"}},
			prompt.Session{WaylandDisplay: "wayland-0", RuntimeDir: "/r", BusAddress: "unix:path=/r/bus"}, nil},
		{"Wayland by its path", fixture{own: []string{"WAYLAND_DISPLAY=/w/0"}, listening: []string{"unix /w/0"}}, prompt.Session{WaylandDisplay: "/w/0"}, nil},
		{"Wayland has ended, X has not", fixture{own: []string{"WAYLAND_DISPLAY=w", "XDG_RUNTIME_DIR=/r", "DISPLAY=:0"}, listening: []string{x0}},
			prompt.Session{Display: ":0", RuntimeDir: "/r"}, nil},
		{"abstract socket of X", fixture{own: []string{"DISPLAY=unix:0.0"}, listening: []string{"unix @/tmp/.X11-unix/X0"}}, prompt.Session{Display: "unix:0.0"}, nil},
		{"forwarded by ssh", fixture{requester: []string{"DISPLAY=localhost:10.0"}, listening: []string{"tcp localhost:6010"}}, prompt.Session{Display: "localhost:10.0"}, nil},
		{"X of a Windows host, by our own word", fixture{own: []string{"DISPLAY=172.20.0.1:0"}, listening: []string{"tcp 172.20.0.1:6000"}},
			prompt.Session{Display: "172.20.0.1:0"}, nil},
		{"screen of another machine, by a stranger's word", fixture{requester: []string{"DISPLAY=203.0.113.5:0"}, listening: []string{"tcp 203.0.113.5:6000"}},
			prompt.Session{}, prompt.ErrUnavailable},
		{"bus that would start a program", fixture{
			requester: []string{"DISPLAY=:0", "DBUS_SESSION_BUS_ADDRESS=unixexec:path=/evil"}, listening: []string{x0, "unix /evil"},
		}, prompt.Session{Display: ":0"}, nil},
		{"bus of several", fixture{
			own: []string{"DISPLAY=:0", "DBUS_SESSION_BUS_ADDRESS=tcp:host=evil;unix:abstract=/b%20s,guid=1"}, listening: []string{x0, "unix @/b s"},
		}, prompt.Session{Display: ":0", BusAddress: "unix:abstract=/b%20s"}, nil},
		{"relative paths", fixture{own: []string{"DISPLAY=:0", "XDG_RUNTIME_DIR=r", "XAUTHORITY=x"}, listening: []string{x0, "unix r/bus"}},
			prompt.Session{Display: ":0"}, nil},
		{"none: a server", fixture{own: []string{"SSH_CONNECTION=x"}}, prompt.Session{}, prompt.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.f.finder(t).Find(t.Context(), prompt.Requester{PID: 4711, UID: os.Getuid()})
			if diff := cmp.Diff(c.want, got); diff != "" || !errors.Is(err, c.err) {
				t.Errorf("Find: %v, (-want +got):\n%s", err, diff)
			}
		})
	}
}

// The first process with a number may be another user's by the time we look.
// A requester can name paths on a file system that never answers: its own, or one whose server is
// away. They are left out, and the question goes to the screen.
func TestPathsThatNeverAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		f := fixture{
			requester: []string{"DISPLAY=:0", "XAUTHORITY=/hung/x", "XDG_RUNTIME_DIR=/hung"},
			listening: []string{"unix /tmp/.X11-unix/X0"},
		}.finder(t)
		f.Look = func(string) { <-end }
		s, err := f.Find(t.Context(), prompt.Requester{PID: 4711, UID: os.Getuid()})
		if diff := cmp.Diff(prompt.Session{Display: ":0"}, s); err != nil || diff != "" {
			t.Errorf("error %v, session %s", err, diff)
		}
		if session.Within(t.Context(), func(context.Context) bool { <-end; return true }) {
			t.Error("what never ends has found something")
		}
	})
}

func TestFindSessionOfAnotherUser(t *testing.T) {
	t.Parallel()
	f := fixture{requester: []string{"DISPLAY=:0"}, listening: []string{"unix /tmp/.X11-unix/X0"}}
	c := f.finder(t)
	for _, p := range []prompt.Requester{{PID: 4711, UID: os.Getuid() + 1}, {PID: 4711, UID: -1}, {PID: 0, UID: os.Getuid()}} {
		if s, err := c.Find(t.Context(), p); !errors.Is(err, prompt.ErrUnavailable) {
			t.Errorf("Find(%+v) = %+v, %v", p, s, err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if err := os.Chown(filepath.Join(c.Proc, "4711", "environ"), 65534, -1); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Find(t.Context(), prompt.Requester{PID: 4711, UID: os.Getuid()}); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("Find = %+v, %v, want ErrUnavailable: the file is another user's", s, err)
	}
	// As with a process that hides, whose file is root's: it is told by others.
	c.HiddenEnviron = func(pid int) []string { return []string{fmt.Sprintf("DISPLAY=:%d", pid-4711)} }
	if s, err := c.Find(t.Context(), prompt.Requester{PID: 4711, UID: os.Getuid()}); err != nil || s.Display != ":0" {
		t.Errorf("Find = %+v, %v, want what is told", s, err)
	}
}

func TestFindBus(t *testing.T) {
	t.Parallel()
	f := fixture{
		requester: []string{"DBUS_SESSION_BUS_ADDRESS=unix:path=/gone"},
		manager:   []string{"XDG_RUNTIME_DIR=/r", "DBUS_SESSION_BUS_ADDRESS=$'unix:path=/r/bus'"},
		listening: []string{"unix /r/bus"},
	}
	got, err := f.finder(t).FindBus(t.Context(), prompt.Requester{PID: 4711, UID: os.Getuid()})
	if got != "unix:path=/r/bus" || err != nil {
		t.Errorf("FindBus = %q, %v", got, err)
	}
	if got, err := (fixture{}).finder(t).FindBus(t.Context(), prompt.Requester{}); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("FindBus without one = %q, %v", got, err)
	}
}

// TestRealSession reads a real process and connects to a real socket.
func TestRealSession(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs /proc")
	}
	l, err := net.Listen("unix", filepath.Join(folder, "w"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	app := exec.Command("sleep", "60")
	app.Env = []string{"WAYLAND_DISPLAY=w", "XDG_RUNTIME_DIR=" + folder}
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = app.Process.Kill()
		_ = app.Wait()
	}()
	c := session.Finder{Environ: func() []string { return nil }}
	asks := prompt.Requester{PID: app.Process.Pid, UID: os.Getuid()}
	// Start returns when the kernel has closed our files, a moment before it has put
	// the environment where it can be read.
	environ := fmt.Sprintf("/proc/%d/environ", app.Process.Pid)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if text, err := os.ReadFile(environ); err == nil && strings.Contains(string(text), "WAYLAND_DISPLAY=w") {
			break
		}
	}
	got, err := c.Find(t.Context(), asks)
	if want := (prompt.Session{WaylandDisplay: "w", RuntimeDir: folder}); got != want || err != nil {
		t.Errorf("Find = %+v, %v; want %+v", got, err, want)
	}
	_ = l.Close()
	c.UserEnvironment = func(context.Context) (string, error) { return "", errors.New("none") }
	if got, err := c.Find(t.Context(), asks); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("Find when the display has ended = %+v, %v", got, err)
	}
}

func FuzzParseUserEnvironment(f *testing.F) {
	f.Add("DISPLAY=:0\nX=$'a\\nDISPLAY=:1'\n=x\nY\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, v := range session.ParseUserEnvironment(s) {
			if name, value, ok := strings.Cut(v, "="); !ok || strings.Contains(v, "\n") || !strings.Contains(s, name) || !strings.Contains(s, value) {
				t.Errorf("%q makes the variable %q", s, v)
			}
		}
	})
}

func FuzzParseDisplay(f *testing.F) {
	for _, s := range []string{":0", "unix:1.0", "localhost:10.0", "[::1]:2", "a/b:0", ":-1", ":+1", "::0", ":0.x", "h:99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, number, ok := session.ParseDisplay(s)
		if !ok {
			return
		}
		if number < 0 || number+6000 > 65535 || strings.ContainsAny(host, "/@ \x00") {
			t.Errorf("ParseDisplay(%q) = %q, %d", s, host, number)
		}
		if again, n, ok := session.ParseDisplay(host + ":" + strconv.Itoa(number)); again != host || n != number || !ok {
			t.Errorf("ParseDisplay(%q) = %q, %d; then %q, %d, %v", s, host, number, again, n, ok)
		}
	})
}

func FuzzBusAddress(f *testing.F) {
	for _, s := range []string{"unix:path=/run/user/1/bus,guid=ab", "unixexec:path=/evil", "tcp:host=x;unix:abstract=/a%2cb", "unix:path=rel", "unix:path=%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		socket, ok := session.BusSocket(s)
		if !ok {
			return
		}
		if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") || strings.Contains(socket, "\x00") {
			t.Errorf("BusSocket(%q) = %q", s, socket)
		}
		address := session.BusAddress(socket)
		if again, ok := session.BusSocket(address); again != socket || !ok || strings.ContainsAny(strings.TrimPrefix(address, "unix:"), ";,: \n") {
			t.Errorf("BusSocket(%q) = %q, written %q, read %q", s, socket, address, again)
		}
	})
}
