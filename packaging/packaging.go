// Package packaging makes the files by which a service manager starts the agent:
// user units of systemd, a launchd agent, a task of Windows. It writes nothing.
package packaging

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"text/template"
	"unicode"
)

// The names of what is installed.
const (
	Service = "stepup.service"
	Socket  = "stepup.socket"
	Label   = "com.github.vault-stepup.stepup" // of the launchd agent
	Plist   = Label + ".plist"
	Task    = "stepup.xml"
)

// A File is one file for a service manager.
type File struct {
	Name string
	Text string
}

// An Agent is what is to be started and how.
type Agent struct {
	Program string   // absolute path
	Config  string   // for --config; "" leaves it to the default
	Env     []string // NAME=value, in addition
	Listen  []Address
	// RuntimeDir is the service manager's XDG_RUNTIME_DIR: paths below it are
	// written so that they hold for every user. "" writes them as they are.
	RuntimeDir string
	User       string // Windows only: the user to log on, DOMAIN\name
	Log        string // file for what the agent writes to standard error; launchd only
}

// An Address is one that the service manager listens on for the agent.
type Address struct {
	Network string // tcp or unix
	Name    string // loopback host:port with a port, or an absolute path
}

var (
	//go:embed stepup.service.tmpl
	serviceText string
	//go:embed stepup.socket.tmpl
	socketText string
	//go:embed stepup.plist.tmpl
	plistText string
	//go:embed stepup.xml.tmpl
	taskText string
)

// ErrUnfit: a path or variable holds what the files cannot.
var ErrUnfit = errors.New("cannot be written into a service file")

// Systemd returns the user units: the service and, unless a.Listen is empty, its
// socket.
func Systemd(a Agent) ([]File, error) {
	// systemd runs no program with these in its path, however they are written.
	if strings.ContainsAny(a.Program, `"'\`) {
		return nil, fmt.Errorf("%q %w", a.Program, ErrUnfit)
	}
	service, err := render(Service, serviceText, a)
	if err != nil || len(a.Listen) == 0 {
		return []File{service}, err
	}
	socket, err := render(Socket, socketText, a)
	return []File{service, socket}, err
}

// Package returns the user units for a package of the operating system, which
// installs the program at the given path. They listen where the configuration of
// stepup config init does, and where the commands look for the agent.
func Package(program string) ([]File, error) {
	const anywhere = "/run/user/0"
	return Systemd(Agent{
		Program: program, RuntimeDir: anywhere,
		Listen: []Address{{"tcp", "127.0.0.1:8100"}, {"unix", anywhere + "/stepup/vault.sock"}, {"unix", anywhere + "/stepup/control.sock"}},
	})
}

// Launchd returns the property list of the agent. It has no sockets: launchd
// hands them over by a C function only.
func Launchd(a Agent) (File, error) { return render(Plist, plistText, a) }

// Windows returns a task that starts the agent when its user logs on. It is no
// service: those have neither the desktop nor the credentials of the person.
func Windows(a Agent) (File, error) { return render(Task, taskText, a) }

func render(name, text string, a Agent) (File, error) {
	for _, s := range append([]string{a.Program, a.Config, a.Log, a.User}, a.Env...) {
		if strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsRune(s, unicode.ReplacementChar) {
			return File{}, fmt.Errorf("%q %w", s, ErrUnfit)
		}
	}
	for _, l := range a.Listen {
		if err := l.check(); err != nil {
			return File{}, err
		}
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"program": systemdProgram, "word": systemdWord, "variable": systemdVariable,
		"listen": a.systemdAddress, "xml": xmlText, "pairs": pairs, "quote": windowsWord,
	}).Parse(text)
	if err != nil {
		return File{}, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, a); err != nil {
		return File{}, err
	}
	return File{Name: name, Text: b.String()}, nil
}

func (l Address) check() error {
	bad := fmt.Errorf("%s address %q %w", l.Network, l.Name, ErrUnfit)
	switch l.Network {
	case "tcp":
		host, port, err := net.SplitHostPort(l.Name)
		ip := net.ParseIP(host)
		if err != nil || ip == nil || !ip.IsLoopback() || port == "0" || port == "" {
			return bad
		}
		return nil
	case "unix":
		// At the end, systemd takes a blank away, and a \ for a line that goes on.
		if !path.IsAbs(l.Name) || strings.ContainsFunc(l.Name, unicode.IsControl) || strings.TrimRight(l.Name, ` \`) != l.Name {
			return bad
		}
		return nil
	}
	return bad
}

// pairs splits NAME=value for the templates that want both apart.
func pairs(env []string) map[string]string {
	m := make(map[string]string)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		m[name] = value
	}
	return m
}

func xmlText(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}
