package prompttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A Sway is a Wayland session of the test's own: sway without a screen, and the hands and
// eyes of the person at it.
type Sway struct {
	// Environ are the variables by which programs find the session. There is no X server, no
	// bus, and no XDG_SESSION_TYPE, which is "tty" where sway was started from a console.
	Environ []string

	t             testing.TB
	socket        string // of sway's IPC
	hands         *hands
	width, height int
}

// A Window is one of the session.
type Window struct {
	Title   string `json:"name"`
	PID     int    `json:"pid"`
	Focused bool   `json:"focused"` // it has the keyboard

	Nodes    []Window `json:"nodes"`
	Floating []Window `json:"floating_nodes"`
}

// StartSway starts a session with a screen of this size. It ends with the test.
func StartSway(t testing.TB, width, height int) *Sway {
	t.Helper()
	Needs(t, "sway", "swaymsg", "grim")
	folder, err := os.MkdirTemp("", "sway") // a socket's path has 108 bytes at most
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	config := filepath.Join(folder, "config")
	check(t, os.WriteFile(config, fmt.Appendf(nil, "xwayland disable\noutput * resolution %dx%d\n", width, height), 0o644))
	runtime := t.TempDir()
	check(t, os.Chmod(runtime, 0o700))
	check(t, os.Symlink(filepath.Join(folder, "wayland-1"), filepath.Join(runtime, "wayland-1")))
	s := &Sway{t: t, width: width, height: height, socket: filepath.Join(folder, "ipc"), Environ: []string{
		"WAYLAND_DISPLAY=wayland-1", "XDG_RUNTIME_DIR=" + runtime, "XDG_CURRENT_DESKTOP=sway",
	}}
	var said bytes.Buffer
	server := exec.Command("sway", "-c", config)
	server.Stdout, server.Stderr = &said, &said
	server.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "XDG_RUNTIME_DIR=" + folder, "SWAYSOCK=" + s.socket,
		"WLR_BACKENDS=headless", "WLR_RENDERER=pixman", "WLR_LIBINPUT_NO_DEVICES=1",
	}
	if os.Getuid() == 0 { // as whom it refuses to run
		const nobody = 65534
		check(t, os.Chown(folder, nobody, nobody))
		server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	check(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("sway said: %s", said.Bytes())
		}
	})
	s.Await("sway", func() bool { _, err := s.message("-t", "get_outputs"); return err == nil })
	s.hands = plugIn(t, filepath.Join(folder, "wayland-1"))
	s.Await("keyboard and mouse", func() bool {
		raw, err := s.message("-t", "get_seats")
		var seats []struct{ Capabilities int }
		const pointer, keyboard = 1, 2
		return err == nil && json.Unmarshal(raw, &seats) == nil && len(seats) == 1 && seats[0].Capabilities == pointer|keyboard
	})
	s.putMouseAside()
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Await polls until it is so.
func (s *Sway) Await(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Command is a program of the session.
func (s *Sway) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, s.Environ...)
	return cmd
}

func (s *Sway) message(args ...string) ([]byte, error) {
	return s.Command("swaymsg", append([]string{"--raw", "-s", s.socket}, args...)...).Output()
}

// Windows are those on the screen.
func (s *Sway) Windows() []Window {
	s.t.Helper()
	tree, err := s.message("-t", "get_tree")
	check(s.t, err)
	var root Window
	check(s.t, json.Unmarshal(tree, &root))
	return root.leaves()
}

func (w Window) leaves() []Window {
	if w.PID != 0 {
		return []Window{w}
	}
	var all []Window
	for _, node := range append(w.Nodes, w.Floating...) {
		all = append(all, node.leaves()...)
	}
	return all
}

// Close closes the window that has the keyboard, as sway's key for it does.
func (s *Sway) Close() {
	s.t.Helper()
	_, err := s.message("kill")
	check(s.t, err)
}

// Press presses keys, by names as in "shift+Tab".
func (s *Sway) Press(keys ...string) {
	s.t.Helper()
	for _, key := range keys {
		s.hands.press(key)
	}
}

// Write types a text into the window that has the keyboard.
func (s *Sway) Write(text string) {
	s.t.Helper()
	s.hands.write(text)
}

// Click presses the left button of the mouse there, and puts the mouse aside again.
func (s *Sway) Click(x, y int) {
	s.t.Helper()
	s.hands.move(x, y, s.width, s.height)
	s.hands.click()
	s.putMouseAside()
}

// putMouseAside moves the mouse to a corner, where it is hardly seen in pictures.
func (s *Sway) putMouseAside() {
	s.t.Helper()
	s.hands.move(s.width-1, s.height-1, s.width, s.height)
	s.hands.roundTrip(func(uint32, []byte) {})
}

// Shot is a picture of the screen, as PNG.
func (s *Sway) Shot() []byte {
	s.t.Helper()
	picture, err := s.Command("grim", "-t", "png", "-").Output()
	check(s.t, err)
	return picture
}

// StillShot is a picture of a screen on which nothing moves.
func (s *Sway) StillShot() (picture []byte) {
	s.t.Helper()
	s.Await("a still screen", func() bool {
		last := picture
		picture = s.Shot()
		return bytes.Equal(picture, last)
	})
	return picture
}
