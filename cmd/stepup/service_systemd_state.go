package main

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/packaging"
)

// A serviceState is what a service manager says of our service.
type serviceState struct {
	manager   string // systemd, launchd
	unknown   bool   // the manager is not asked
	running   bool
	stopped   bool // installed by us and started at login, but a person has stopped it
	failed    bool
	enabled   bool
	outdated  bool // the manager has not read the files as they are
	pid       int
	doing     string // in the manager's words
	said      string // by the agent, to the manager
	program   string // that it starts
	files     []serviceFile
	units     []string // that the manager knows
	listening []string // addresses that the manager holds for the agent
	dropIns   []string // a person's changes beside the files
	masked    string   // a unit that a person has forbidden
}

// A serviceFile is one file of the service.
type serviceFile struct {
	path   string
	origin fileOrigin
}

// A fileOrigin says who made a file; the words are shown.
type fileOrigin string

const (
	originOurs   fileOrigin = "as installed"
	originEdited fileOrigin = "edited by hand"
	originSystem fileOrigin = "from a package"
)

func (s systemd) state(ctx context.Context) (serviceState, error) {
	st := serviceState{manager: "systemd"}
	service, err := s.show(ctx, packaging.Service)
	if err != nil {
		return st, s.unreachable(err)
	}
	socket, err := s.show(ctx, packaging.Socket)
	if err != nil {
		return st, s.unreachable(err)
	}
	for _, u := range []unit{service, socket} {
		switch u.one("LoadState") {
		case "not-found":
			continue
		case "masked":
			st.masked = u.name
			continue
		}
		st.units = append(st.units, u.name)
		st.outdated = st.outdated || u.one("NeedDaemonReload") == "yes"
		st.failed = st.failed || u.one("ActiveState") == "failed"
		st.dropIns = append(st.dropIns, strings.Fields(u.one("DropInPaths"))...)
		if path := u.one("FragmentPath"); path != "" {
			st.files = append(st.files, serviceFile{path, s.origin(path)})
		}
	}
	active := service.one("ActiveState")
	st.running = slices.Contains([]string{"active", "reloading", "activating"}, active) && service.one("MainPID") != "0"
	st.enabled = service.one("UnitFileState") == "enabled"
	st.stopped = st.enabled && active == "inactive" && slices.ContainsFunc(st.files, func(f serviceFile) bool { return f.origin != originSystem })
	st.pid, _ = strconv.Atoi(service.one("MainPID"))
	st.doing = active + " (" + service.one("SubState") + ")"
	if result := service.one("Result"); st.failed && result != "" && result != "success" {
		st.doing += ", " + result
	}
	st.said = service.one("StatusText")
	_, start, _ := strings.Cut(service.one("ExecStart"), "path=")
	st.program, _, _ = strings.Cut(start, " ; argv[]=")
	if socket.one("ActiveState") == "active" {
		for _, l := range socket.values["Listen"] {
			address, _, _ := strings.Cut(l, " (")
			st.listening = append(st.listening, address)
		}
	}
	return st, nil
}

// origin says who made a unit file: what is in the user's own folder is ours or
// theirs.
func (s systemd) origin(path string) fileOrigin {
	if filepath.Dir(path) != s.dir {
		return originSystem
	}
	text, err := readServiceFile(path)
	if err != nil {
		return originEdited
	}
	if _, intact := packaging.Unseal(text); !intact {
		return originEdited
	}
	return originOurs
}

// A unit is what systemctl show tells of one.
type unit struct {
	name   string
	values map[string][]string
}

func (u unit) one(name string) string {
	if all := u.values[name]; len(all) > 0 {
		return all[0]
	}
	return ""
}

func (s systemd) show(ctx context.Context, name string) (unit, error) {
	out, err := s.ctl(ctx, "show", name, "--property="+strings.Join([]string{
		"LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "FragmentPath", "DropInPaths",
		"NeedDaemonReload", "MainPID", "StatusText", "ExecStart", "Listen",
	}, ","))
	return unit{name, parseShow(out)}, err
}

// parseShow reads NAME=value lines; a name may come more than once.
func parseShow(out string) map[string][]string {
	values := make(map[string][]string)
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			values[name] = append(values[name], value)
		}
	}
	return values
}

// lingerNote is for machines that are only reached over ssh: there the user's
// systemd, and the agent with it, ends with the last connection.
func (a *app) lingerNote() {
	if a.Env("SSH_CONNECTION") == "" || a.Env("DISPLAY") != "" || a.Env("WAYLAND_DISPLAY") != "" {
		return
	}
	me, err := user.Current()
	if err != nil {
		return
	}
	if _, err := os.Stat(filepath.Join("/var/lib/systemd/linger", me.Username)); err == nil {
		return
	}
	a.Notify("note: %s", "without anybody logged in, the service stops with the last ssh connection; `loginctl enable-linger` keeps it running")
}
