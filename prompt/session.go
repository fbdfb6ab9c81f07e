package prompt

import (
	"slices"
	"strings"
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

// A variable is one field of a session under its name.
type variable struct {
	name  string
	value *string
}

// variables are all that is ever taken from a stranger's environment: others of it
// (GTK_MODULES, LD_PRELOAD, PATH) would run its code as ours.
func (s *Session) variables() []variable {
	return []variable{
		{"DISPLAY", &s.Display},
		{"WAYLAND_DISPLAY", &s.WaylandDisplay},
		{"XAUTHORITY", &s.XAuthority},
		{"XDG_RUNTIME_DIR", &s.RuntimeDir},
		{"DBUS_SESSION_BUS_ADDRESS", &s.BusAddress},
		{"XDG_CURRENT_DESKTOP", &s.Desktop},
		{"XDG_SESSION_TYPE", &s.Type},
	}
}

// NewSession takes the variables of a session from an environment of NAME=value. The
// first of a name counts, as getenv has it.
func NewSession(environ []string) Session {
	var s Session
	for _, v := range s.variables() {
		for _, entry := range environ {
			if name, value, _ := strings.Cut(entry, "="); name == v.name && *v.value == "" {
				*v.value = value
			}
		}
	}
	return s
}

// Environ returns the environment of a program that shows itself in the session:
// environ, in which the session's variables replace those of its own.
func (s Session) Environ(environ []string) []string {
	if s.BusAddress == "" {
		// Not left out: without the variable a toolkit starts a bus of its own, which stays.
		s.BusAddress = "disabled:"
	}
	kept := slices.Clone(environ)
	for _, v := range s.variables() {
		kept = slices.DeleteFunc(kept, func(entry string) bool { return strings.HasPrefix(entry, v.name+"=") })
		if *v.value != "" {
			kept = append(kept, v.name+"="+*v.value)
		}
	}
	return kept
}

// Forwarded reports whether the screen is reached through a network connection
// (ssh -X): a program that this machine's session bus starts would show somewhere else.
func (s Session) Forwarded() bool {
	host := s.Display[:max(0, strings.LastIndexByte(s.Display, ':'))]
	return host != "" && host != "unix" && s.WaylandDisplay == ""
}
