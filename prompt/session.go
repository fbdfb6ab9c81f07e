package prompt

import "strings"

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

// variables are all that is ever taken from a stranger's environment: others of it
// (GTK_MODULES, LD_PRELOAD, PATH) would run its code as ours.
func (s *Session) variables() map[string]*string {
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

// NewSession takes the variables of a session from an environment of NAME=value. The
// first of a name counts, as getenv has it.
func NewSession(environ []string) Session {
	var s Session
	fields := s.variables()
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if field := fields[name]; field != nil && *field == "" {
			*field = value
		}
	}
	return s
}

// Environ returns the environment of a program that shows itself in the session:
// environ, in which the session's variables replace those of its own.
func (s Session) Environ(environ []string) []string {
	kept := make([]string, 0, len(environ)+8)
	fields := s.variables()
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

// Forwarded reports whether the screen is reached through a network connection
// (ssh -X): a program that this machine's session bus starts would show somewhere else.
func (s Session) Forwarded() bool {
	host := s.Display[:max(0, strings.LastIndexByte(s.Display, ':'))]
	return host != "" && host != "unix" && s.WaylandDisplay == ""
}
