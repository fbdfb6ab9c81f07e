package prompt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Session is the graphical session of a person: the variables by which
// programs find its screen and its bus. "" is a variable that is not set, or
// that leads nowhere.
type Session struct {
	Display        string // DISPLAY
	WaylandDisplay string // WAYLAND_DISPLAY
	XAuthority     string // XAUTHORITY
	RuntimeDir     string // XDG_RUNTIME_DIR
	BusAddress     string // DBUS_SESSION_BUS_ADDRESS, always unix:
	Desktop        string // XDG_CURRENT_DESKTOP
	Type           string // XDG_SESSION_TYPE
}

// sessionVariables are all that is ever taken from a stranger's environment:
// what else is in there (GTK_MODULES, LD_PRELOAD, PATH) would run its code as ours.
func (s *Session) sessionVariables() map[string]*string {
	return map[string]*string{
		"DISPLAY":                  &s.Display,
		"WAYLAND_DISPLAY":          &s.WaylandDisplay,
		"XAUTHORITY":               &s.XAuthority,
		"XDG_RUNTIME_DIR":          &s.RuntimeDir,
		"DBUS_SESSION_BUS_ADDRESS": &s.BusAddress,
		"XDG_CURRENT_DESKTOP":      &s.Desktop,
		"XDG_SESSION_TYPE":         &s.Type,
	}
}

// set takes one NAME=value; the first of a name counts, as getenv has it.
func (s *Session) set(variable string) {
	name, value, _ := strings.Cut(variable, "=")
	if field := s.sessionVariables()[name]; field != nil && *field == "" {
		*field = value
	}
}

// Forwarded reports whether the screen is reached through a network connection
// (ssh -X): what this machine's session bus starts would show somewhere else.
func (s Session) Forwarded() bool {
	host, _, ok := parseDisplay(s.Display)
	return ok && host != "" && s.WaylandDisplay == ""
}

// within returns the environment of a program that shows itself in the session:
// environ, in which the session's variables replace those of its own.
func (s Session) within(environ []string) []string {
	kept := make([]string, 0, len(environ)+8)
	fields := s.sessionVariables()
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if fields[name] == nil {
			kept = append(kept, variable)
		}
	}
	for _, name := range []string{
		"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_CURRENT_DESKTOP", "XDG_SESSION_TYPE",
	} {
		if value := *fields[name]; value != "" {
			kept = append(kept, name+"="+value)
		}
	}
	if s.BusAddress == "" {
		// Not left out: without the variable a toolkit starts a bus of its own, which stays.
		return append(kept, "DBUS_SESSION_BUS_ADDRESS=disabled:")
	}
	return append(kept, "DBUS_SESSION_BUS_ADDRESS="+s.BusAddress)
}

// userEnvironmentLimit is how long systemd may take to tell its variables.
const userEnvironmentLimit = time.Second

// A SessionConfig says where sessions are looked for. The zero value is this
// machine.
type SessionConfig struct {
	Proc string // mount point of procfs; "" means /proc
	// UserEnvironment lists the variables of the user's service manager, one
	// NAME=value a line; nil means systemctl --user show-environment.
	UserEnvironment func(context.Context) (string, error)
	Environ         func() []string // our own environment, the last resort; nil means os.Environ
	// Reach reports whether something listens at an address of [net.Dial]; nil
	// means to connect for a moment. It blocks for half a second at most.
	Reach func(ctx context.Context, network, address string) bool
}

func (c SessionConfig) withDefaults() SessionConfig {
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	if c.UserEnvironment == nil {
		c.UserEnvironment = systemdEnvironment
	}
	if c.Environ == nil {
		c.Environ = os.Environ
	}
	if c.Reach == nil {
		c.Reach = reachable
	}
	return c
}

// Find returns the session that a question of the requester belongs to: the
// requester's own, else the one that the user's service manager knows, else ours,
// whichever is the first with a display that can be reached. It blocks for a few
// seconds at most and returns an error wrapping ErrUnavailable when there is none.
func (c SessionConfig) Find(ctx context.Context, requester Requester) (Session, error) {
	c = c.withDefaults()
	for _, look := range c.places(requester) {
		if s, ok := c.screen(ctx, look(ctx)); ok {
			return s, nil
		}
	}
	return Session{}, fmt.Errorf("%w: no graphical session", ErrUnavailable)
}

// FindBus returns the address of the session bus for a question of the
// requester, found in the same places; no display is needed. The error wraps
// ErrUnavailable.
func (c SessionConfig) FindBus(ctx context.Context, requester Requester) (string, error) {
	c = c.withDefaults()
	for _, look := range c.places(requester) {
		if address := c.bus(ctx, look(ctx).session); address != "" {
			return address, nil
		}
	}
	return "", fmt.Errorf("%w: no session bus", ErrUnavailable)
}

// A place is a session as somebody tells it.
type place struct {
	session Session
	ours    bool // told by us or the user's service manager, not by a stranger
}

func (c SessionConfig) places(requester Requester) []func(context.Context) place {
	return []func(context.Context) place{
		func(context.Context) place { return place{session: c.ofProcess(requester)} },
		func(ctx context.Context) place { return place{session: c.ofManager(ctx), ours: true} },
		func(context.Context) place { return place{session: newSession(c.Environ()), ours: true} },
	}
}

func newSession(variables []string) Session {
	var s Session
	for _, v := range variables {
		s.set(v)
	}
	return s
}

// ofProcess reads what the requester was started with.
func (c SessionConfig) ofProcess(requester Requester) Session {
	if requester.PID <= 0 || requester.UID != os.Getuid() {
		return Session{} // another user's screen is not ours to write on
	}
	raw, err := readOwn(filepath.Join(c.Proc, strconv.Itoa(requester.PID), "environ"))
	if err != nil {
		return Session{} // it has ended, or is none of ours
	}
	return newSession(strings.Split(raw, "\x00"))
}

// maxEnvironment is as much of an environment as is read, in bytes.
const maxEnvironment = 1 << 20

// readOwn reads a file if it is ours: the number may be another user's process
// by now.
func readOwn(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !ownedByUs(info) {
		return "", fs.ErrPermission
	}
	buf := limitedBuffer{room: maxEnvironment}
	_, err = f.WriteTo(&buf)
	return buf.kept.String(), err
}

func (c SessionConfig) ofManager(ctx context.Context) Session {
	text, err := c.UserEnvironment(ctx)
	if err != nil {
		return Session{}
	}
	return newSession(parseUserEnvironment(text))
}

// parseUserEnvironment reads what systemctl show-environment prints: a value
// with anything unusual in it stands in $'…' with escapes, and is left out when
// it has any: none of the session's variables needs one.
func parseUserEnvironment(text string) []string {
	var variables []string
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if quoted, found := strings.CutPrefix(value, "$'"); found {
			if value, found = strings.CutSuffix(quoted, "'"); !found || strings.ContainsAny(value, `\'`) {
				continue
			}
		}
		if ok {
			variables = append(variables, name+"="+value)
		}
	}
	return variables
}

func systemdEnvironment(ctx context.Context) (string, error) {
	path, err := exec.LookPath("systemctl")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, userEnvironmentLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--user", "show-environment")
	cmd.Env = Environ()
	out := limitedBuffer{room: maxEnvironment}
	cmd.Stdout = &out
	cmd.WaitDelay = killDelay
	release := ownGroup(cmd)
	err = cmd.Run()
	release()
	return out.kept.String(), errors.Join(err, ctx.Err())
}
