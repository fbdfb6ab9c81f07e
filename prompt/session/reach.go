package session

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/messagebus"
	"github.com/vault-stepup/stepup/prompt"
)

const (
	// reachLimit is how long a display or bus on this machine may take to accept.
	reachLimit = 500 * time.Millisecond
	// pathLimit is how long a file system may take to find a path.
	pathLimit = 2 * time.Second
)

// reachable connects for a moment: the socket of a display that has crashed is
// still there.
func reachable(ctx context.Context, network, address string) bool {
	return within(ctx, func(ctx context.Context) bool {
		conn, err := (&net.Dialer{Timeout: reachLimit}).DialContext(ctx, network, address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// within looks at what a path names. The file system there may be one that a program of the
// user plays, or whose server is away: a look that no context ends must not hold up the question,
// and all after it. Such a look is left behind.
func within(ctx context.Context, look func(context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, pathLimit)
	defer cancel()
	found := make(chan bool, 1)
	go func() { found <- look(ctx) }()
	select {
	case ok := <-found:
		return ok
	case <-ctx.Done():
		return false
	}
}

// answers reports whether a path is absolute, and its file system says anything of it.
func (f Finder) answers(ctx context.Context, path string) bool {
	return filepath.IsAbs(path) && within(ctx, func(context.Context) bool { f.Look(path); return true })
}

// screen keeps the parts of a session that can be reached; ok is false when no display
// is among them.
func (f Finder) screen(ctx context.Context, p place) (s prompt.Session, ok bool) {
	s = p.session
	if !f.waylandAnswers(ctx, s) {
		s.WaylandDisplay = ""
	}
	if !f.displayAnswers(ctx, p) {
		s.Display = ""
	}
	if s.WaylandDisplay == "" && s.Display == "" {
		return prompt.Session{}, false
	}
	s.BusAddress = f.bus(ctx, s)
	if !f.answers(ctx, s.RuntimeDir) {
		s.RuntimeDir = ""
	}
	if !f.answers(ctx, s.XAuthority) {
		s.XAuthority = ""
	}
	return s, true
}

func (f Finder) waylandAnswers(ctx context.Context, s prompt.Session) bool {
	socket := s.WaylandDisplay
	if socket == "" {
		return false
	}
	if !filepath.IsAbs(socket) {
		socket = filepath.Join(s.RuntimeDir, socket)
	}
	return filepath.IsAbs(socket) && f.Reachable(ctx, "unix", socket)
}

func (f Finder) displayAnswers(ctx context.Context, p place) bool {
	host, number, ok := parseDisplay(p.session.Display)
	switch {
	case !ok:
		return false
	case host == "":
		socket := "/tmp/.X11-unix/X" + strconv.Itoa(number)
		return f.Reachable(ctx, "unix", socket) || f.Reachable(ctx, "unix", "@"+socket)
	case !p.ours && !isLoopback(host):
		// A stranger's word must not send the person's answer over the network.
		return false
	}
	return f.Reachable(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(6000+number)))
}

// parseDisplay splits an X display name, [host]:number[.screen]. The host is ""
// for this machine. ok is false for any other text.
func parseDisplay(display string) (host string, number int, ok bool) {
	i := strings.LastIndexByte(display, ':')
	if i < 0 {
		return "", 0, false
	}
	host, rest := display[:i], display[i+1:]
	rest, screen, dotted := strings.Cut(rest, ".")
	number, err := strconv.Atoi(rest)
	if err != nil || number < 0 || number > 59535 || rest[0] == '+' {
		return "", 0, false // no port of TCP is above 65535
	}
	if _, err := strconv.ParseUint(screen, 10, 16); dotted && err != nil {
		return "", 0, false
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "unix" {
		host = ""
	}
	if strings.ContainsFunc(host, func(c rune) bool { return !strings.ContainsRune(alphanumeric+".-:_", c) }) {
		return "", 0, false
	}
	return host, number, true
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// bus returns the address of the session's bus if it can be reached, else "".
// The address is our own wording of it: the programs that read it next may know
// transports that we do not want.
func (f Finder) bus(ctx context.Context, s prompt.Session) string {
	socket, ok := busSocket(s.BusAddress)
	if s.BusAddress == "" && filepath.IsAbs(s.RuntimeDir) {
		socket, ok = filepath.Join(s.RuntimeDir, "bus"), true
	}
	if !ok || !f.Reachable(ctx, "unix", socket) {
		return ""
	}
	return busAddress(socket)
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// busAddress returns the D-Bus address of a socket that busSocket has found.
func busAddress(socket string) string {
	key, value := "path", socket
	if abstract, ok := strings.CutPrefix(socket, "@"); ok {
		key, value = "abstract", abstract
	}
	var b strings.Builder
	b.WriteString("unix:" + key + "=")
	for _, c := range []byte(value) {
		if strings.IndexByte(alphanumeric+`-_/.\*`, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// busSocket returns the first unix socket of a D-Bus address.
func busSocket(address string) (socket string, ok bool) {
	if all := messagebus.Sockets(address); len(all) > 0 {
		return all[0], true
	}
	return "", false
}
