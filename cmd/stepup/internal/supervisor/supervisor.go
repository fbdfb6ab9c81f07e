// Package supervisor installs, removes and looks at the service of the agent: in the
// user's systemd, in launchd, and as a task of Windows.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/config/paths"
	"github.com/vault-stepup/stepup/packaging"
)

// A Supervisor starts the agent with the person's session. Its errors carry
// hints; what it did is said on the console of the command.
type Supervisor interface {
	// Install writes the files and starts the agent. force replaces files that a
	// person has changed.
	Install(ctx context.Context, a packaging.Agent, force bool) error
	// Uninstall undoes install and succeeds when there is nothing to undo.
	Uninstall(ctx context.Context, force bool) error
	// State looks; it changes nothing.
	State(ctx context.Context) (State, error)
}

// New returns the supervisor of this system, which writes to c.
func New(c *cli.Console) Supervisor {
	switch runtime.GOOS {
	case "darwin":
		return newLaunchd(c, runProgram)
	case "windows":
		return taskScheduler{}
	}
	return newSystemd(c, runProgram)
}

// Restart restarts the service of this system, or starts it. What it did is said on c.
func Restart(ctx context.Context, c *cli.Console) error {
	switch runtime.GOOS {
	case "darwin":
		return newLaunchd(c, runProgram).restart(ctx)
	case "windows":
		return &cli.Error{Err: errTask, Hint: "in PowerShell: Stop-ScheduledTask -TaskName stepup; Start-ScheduledTask -TaskName stepup"}
	}
	return newSystemd(c, runProgram).restart(ctx)
}

// errNotInstalled is the error of what needs the service.
func errNotInstalled() error {
	return &cli.Error{Err: errors.New(NotInstalled), Hint: "`stepup service install` does so and starts it"}
}

// runProgram runs a program of the system and returns its standard output. The
// error of one that failed is what it said.
func runProgram(ctx context.Context, name string, args ...string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, name, args...)
	if dir := paths.SessionDir(); dir != "" && os.Getenv("XDG_RUNTIME_DIR") == "" {
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir) // su and sudo take it away
	}
	cmd.WaitDelay = time.Second
	const limit = 1 << 20
	out, complaint := cli.LimitedText{Limit: limit}, cli.LimitedText{Limit: limit}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch said := strings.TrimSpace(complaint.String()); {
	case err == nil, errors.Is(err, exec.ErrNotFound):
		return out.String(), err
	case limited.Err() != nil && ctx.Err() == nil:
		return out.String(), fmt.Errorf("%s has not answered within %s", name, callLimit)
	case said != "":
		return out.String(), fmt.Errorf("%s: %s", name, cli.Printable(said))
	}
	return out.String(), fmt.Errorf("%s: %w", name, err)
}

// A commander runs programs of the system as [runProgram] does.
type commander func(ctx context.Context, name string, args ...string) (string, error)

// callLimit bounds one call of a service manager. systemd itself gives a
// service 90 s to start.
const callLimit = 2 * time.Minute

// FixedAddresses are the addresses on which a service manager can listen beforehand: those
// of listeners, and the control socket, so that a command starts the agent.
func FixedAddresses(c *agent.Config, controlSocket string) []packaging.Address {
	var all []packaging.Address
	for _, l := range c.Listeners {
		if _, free := strings.CutSuffix(l.Address, ":0"); l.Network == "tcp" && free {
			continue
		}
		all = append(all, packaging.Address{Network: l.Network, Name: l.Address})
	}
	return append(all, packaging.Address{Network: "unix", Name: controlSocket})
}

// Starts reports whether a connection to the control socket would start the agent.
func (s State) Starts(controlSocket string) bool {
	return !s.Running && slices.Contains(s.Listening, controlSocket)
}

// A State is what a service manager says of the service.
type State struct {
	Manager   string // systemd, launchd
	Unknown   bool   // the manager is not asked
	Running   bool
	stopped   bool // installed by stepup and started at login, but a person has stopped it
	Failed    bool
	Enabled   bool
	Outdated  bool // the manager has not read the files as they are
	PID       int
	Doing     string // in the manager's words
	Said      string // by the agent, to the manager
	Program   string // that it starts
	Files     []File
	Units     []string // that the manager knows
	Listening []string // addresses that the manager holds for the agent
	DropIns   []string // a person's changes beside the files
	Masked    string   // a unit that a person has forbidden
}

// A File is one file of the service.
type File struct {
	Path   string
	Origin Origin
}

// An Origin says what made a file; the words are shown.
type Origin string

// The origins of a file.
const (
	OriginOurs   Origin = "as installed"
	originEdited Origin = "edited by hand"
	originSystem Origin = "from a package"
)

// ownOrigin is the origin of a file in the user's own folder.
func ownOrigin(path string) Origin {
	if _, intact, err := readSealed(path); err != nil || !intact {
		return originEdited
	}
	return OriginOurs
}

// ErrNoSession says that the user's systemd cannot be found from this shell.
var ErrNoSession = errors.New("this shell belongs to no login session (XDG_RUNTIME_DIR is not set), so your systemd cannot be found")

var errNoFile = errors.New("is no regular file")

// NotInstalled is what is said of a service that is not there.
const NotInstalled = "the service is not installed"

// Texts of all managers.
const (
	textStarted   = "started, pid %d; it starts by itself when you log in"
	textRestarted = "restarted, pid %d"
	textBegun     = "started, pid %d"
	textRuns      = "runs already, pid %d"
	textGone      = "stopped and removed"
	textFailed    = "the service manager says: %w"
)

// Masked is the error of a unit that must not start.
func Masked(unit string) *cli.Error {
	return &cli.Error{
		Err:  fmt.Errorf("%s is masked: you, or the administrator, has said that it must not start", unit),
		Hint: fmt.Sprintf("`systemctl --user unmask %s` allows it again", unit),
	}
}

// Unfit marks an error of [packaging] as the caller's.
func Unfit(err error) error { return cli.Usage(err, "use paths without control characters") }
