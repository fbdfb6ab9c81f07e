// Package session finds the graphical session that a question belongs to: its screen
// and its bus.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/ownership"
	"github.com/vault-stepup/stepup/prompt"
)

// userEnvironmentLimit is how long systemd may take to tell its variables.
const userEnvironmentLimit = time.Second

// A Finder looks for sessions. The zero value looks on this machine.
type Finder struct {
	Proc string // mount point of procfs; "" means /proc
	// UserEnvironment lists the variables of the user's service manager, one
	// NAME=value a line; nil means systemctl --user show-environment.
	UserEnvironment func(context.Context) (string, error)
	Environ         func() []string // our own environment, the last resort; nil means os.Environ
	// HiddenEnviron returns the environment of a process of the user whose own may not be
	// read, as far as it can be told; nil tells nothing.
	HiddenEnviron func(pid int) []string
	// Reachable reports whether something listens at an address of [net.Dial]; nil
	// means to connect for a moment. It blocks for two seconds at most.
	Reachable func(ctx context.Context, network, address string) bool
	Look      func(path string) // looks at a path, however long that takes; nil means os.Stat
}

func (f Finder) withDefaults() Finder {
	if f.Proc == "" {
		f.Proc = "/proc"
	}
	if f.UserEnvironment == nil {
		f.UserEnvironment = systemdEnvironment
	}
	if f.Environ == nil {
		f.Environ = os.Environ
	}
	if f.Reachable == nil {
		f.Reachable = reachable
	}
	if f.Look == nil {
		f.Look = func(path string) { _, _ = os.Stat(path) }
	}
	return f
}

// Find returns the session that a question of the requester belongs to, the first with
// a display that can be reached of: the requester's own, the one that the user's service
// manager knows, ours. It blocks for a few seconds at most and returns an error wrapping
// ErrUnavailable when there is none.
func (f Finder) Find(ctx context.Context, requester prompt.Requester) (prompt.Session, error) {
	f = f.withDefaults()
	for _, look := range f.places(requester) {
		if s, ok := f.screen(ctx, look(ctx)); ok {
			return s, nil
		}
	}
	return prompt.Session{}, fmt.Errorf("%w: no graphical session", prompt.ErrUnavailable)
}

// FindBus returns the address of the session bus for a question of the
// requester, found in the same places; no display is needed. The error wraps
// ErrUnavailable.
func (f Finder) FindBus(ctx context.Context, requester prompt.Requester) (string, error) {
	f = f.withDefaults()
	for _, look := range f.places(requester) {
		if address := f.bus(ctx, look(ctx).session); address != "" {
			return address, nil
		}
	}
	return "", fmt.Errorf("%w: no session bus", prompt.ErrUnavailable)
}

// A place is a session as one source tells it.
type place struct {
	session prompt.Session
	ours    bool // from us or the user's service manager, not by a stranger
}

func (f Finder) places(requester prompt.Requester) []func(context.Context) place {
	return []func(context.Context) place{
		func(context.Context) place { return place{session: f.ofProcess(requester)} },
		func(ctx context.Context) place { return place{session: f.ofManager(ctx), ours: true} },
		func(context.Context) place { return place{session: prompt.NewSession(f.Environ()), ours: true} },
	}
}

// ofProcess reads the environment that the requester was started with.
func (f Finder) ofProcess(requester prompt.Requester) prompt.Session {
	if requester.PID <= 0 || requester.UID != os.Getuid() {
		return prompt.Session{} // another user's screen is not ours to write on
	}
	raw, err := readOwn(filepath.Join(f.Proc, strconv.Itoa(requester.PID), "environ"))
	switch {
	case errors.Is(err, fs.ErrPermission) && requester.PID == os.Getpid():
		return prompt.NewSession(f.Environ()) // we hide from all that look into /proc, from ourselves too
	case errors.Is(err, fs.ErrPermission) && f.HiddenEnviron != nil:
		return prompt.NewSession(f.HiddenEnviron(requester.PID))
	case err != nil:
		return prompt.Session{} // it has ended, or is none of ours
	}
	return prompt.NewSession(strings.Split(raw, "\x00"))
}

// maxEnvironment is as much of an environment as is read, in bytes.
const maxEnvironment = 1 << 20

// readOwn reads a file if it is ours: the number may be another user's process
// by now.
func readOwn(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if !ownership.Ours(info) {
		return "", fs.ErrPermission
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxEnvironment))
	return string(raw), err
}

func (f Finder) ofManager(ctx context.Context) prompt.Session {
	text, err := f.UserEnvironment(ctx)
	if err != nil {
		return prompt.Session{}
	}
	return prompt.NewSession(parseUserEnvironment(text))
}

// parseUserEnvironment reads the output of systemctl show-environment. A value with
// anything unusual in it stands there in $'…' with escapes. It is left out when it has
// any: none of the session's variables needs one.
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
	cmd.Env = prompt.Environ()
	text, err := prompt.RunProgram(cmd, maxEnvironment)
	return text, errors.Join(err, ctx.Err())
}
