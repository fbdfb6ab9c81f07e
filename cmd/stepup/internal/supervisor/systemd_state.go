package supervisor

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/packaging"
)

// State implements Supervisor.
func (s Systemd) State(ctx context.Context) (State, error) {
	st := State{Manager: "systemd"}
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
			st.Masked = u.name
			continue
		}
		st.Units = append(st.Units, u.name)
		st.Outdated = st.Outdated || u.one("NeedDaemonReload") == "yes"
		st.Failed = st.Failed || u.one("ActiveState") == "failed"
		st.DropIns = append(st.DropIns, strings.Fields(u.one("DropInPaths"))...)
		if path := u.one("FragmentPath"); path != "" {
			st.Files = append(st.Files, File{path, s.origin(path)})
		}
	}
	active := service.one("ActiveState")
	st.Running = slices.Contains([]string{"active", "reloading", "activating"}, active) && service.one("MainPID") != "0"
	st.Enabled = service.one("UnitFileState") == "enabled"
	st.stopped = st.Enabled && active == "inactive" && slices.ContainsFunc(st.Files, func(f File) bool { return f.Origin != originSystem })
	st.PID, _ = strconv.Atoi(service.one("MainPID"))
	st.Doing = active + " (" + service.one("SubState") + ")"
	if result := service.one("Result"); st.Failed && result != "" && result != "success" {
		st.Doing += ", " + result
	}
	st.Said = service.one("StatusText")
	_, start, _ := strings.Cut(service.one("ExecStart"), "path=")
	st.Program, _, _ = strings.Cut(start, " ; argv[]=")
	if socket.one("ActiveState") == "active" {
		for _, l := range socket.values["Listen"] {
			address, _, _ := strings.Cut(l, " (")
			st.Listening = append(st.Listening, address)
		}
	}
	return st, nil
}

// origin tells the file of a package from one in the user's own folder.
func (s Systemd) origin(path string) Origin {
	if filepath.Dir(path) != s.dir {
		return originSystem
	}
	return ownOrigin(path)
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

func (s Systemd) show(ctx context.Context, name string) (unit, error) {
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
func lingerNote(c *cli.Console) {
	if c.Env("SSH_CONNECTION") == "" || c.Env("DISPLAY") != "" || c.Env("WAYLAND_DISPLAY") != "" {
		return
	}
	me, err := user.Current()
	if err != nil {
		return
	}
	if _, err := os.Stat(filepath.Join("/var/lib/systemd/linger", me.Username)); err == nil {
		return
	}
	c.Notify("note: without anybody logged in, the service stops with the last ssh connection; `loginctl enable-linger` keeps it running")
}
