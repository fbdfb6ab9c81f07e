// Package cli is what the commands of stepup share: the console, errors with hints, exit
// codes, tables, the printing of text from elsewhere, completion, the client of the agent
// and the configuration.
//
// The rules for words: lower case, no full stop. Results go to standard output,
// everything else to standard error. What is wrong starts with "error: ", the fix is a
// line that starts with "hint: " and names the command to run. Text that the agent, a
// file or a server supplies goes through [Printable].
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/agent/listener"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/config/paths"
	"github.com/vault-stepup/stepup/ownership"
	"github.com/vault-stepup/stepup/prompt"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// A Console is the surroundings of a command: its flag, streams and environment.
type Console struct {
	ConfigFlag string // --config
	In         io.Reader
	Out, Err   io.Writer
	Env        func(string) string
	Shared     SharedConfig
	// Unprotected runs start, which starts a program of the person's, so that the program
	// does not inherit the protection of our memory; nil runs start as it is.
	Unprotected func(start func() error) error
}

// Say prints a line of a result.
func (c *Console) Say(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }

// Notify prints a line that is no result.
func (c *Console) Notify(format string, args ...any) { fmt.Fprintf(c.Err, format+"\n", args...) }

// Hint prints what to do.
func (c *Console) Hint(text string) { fmt.Fprintf(c.Err, "hint: %s\n", text) }

// fail prints an error, and the hint if there is one.
func (c *Console) fail(err error, hint string) {
	fmt.Fprintf(c.Err, "error: %v\n", err)
	if hint != "" {
		c.Hint(hint)
	}
}

// Report prints an error for people and returns the exit code that it means.
func (c *Console) Report(err error) int {
	var h *Error
	errors.As(err, &h)
	var unsafe *ownership.Unsafe
	switch {
	case errors.Is(err, control.ErrNoAgent):
		c.fail(fmt.Errorf("%w in %s", control.ErrNoAgent, Printable(c.RuntimeDir())), "start it with `stepup agent`")
		return ExitNoAgent
	case errors.Is(err, control.ErrEnded):
		c.fail(control.ErrEnded, "its log says why (`journalctl --user -u stepup.service -n 20`), and `stepup doctor` may know")
	case errors.As(err, &unsafe):
		c.fail(err, unsafe.Fix())
	case errors.Is(err, listener.ErrRunning):
		c.fail(err, "`stepup status` shows it; set STEPUP_RUNTIME_DIR to run a second one")
	case AddressTaken(err):
		c.fail(err, "`stepup doctor` says which program has the address")
	case errors.Is(err, prompt.ErrUnknown):
		c.fail(err, "`stepup prompts` lists what can be answered")
	case errors.Is(err, ErrReported):
	case h != nil:
		c.fail(err, h.Hint)
	default:
		c.fail(err, "")
	}
	if h != nil && h.Code != 0 {
		return h.Code
	}
	return ExitFailed
}

// Terminal returns standard error as a file if it is a terminal.
func (c *Console) Terminal() (*os.File, bool) {
	f, ok := c.Err.(*os.File)
	return f, ok && terminal.IsTerminal(f)
}

// Width is how wide text for people on standard error may be.
func (c *Console) Width() int { return width(c.Err) }

// ResultWidth is how wide a result for people may be.
func (c *Console) ResultWidth() int { return width(c.Out) }

func width(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if w := terminal.Columns(f); w > 0 {
			return w
		}
	}
	return 100
}

// Color reports whether text for people may have colours (no-color.org).
func (c *Console) Color() bool {
	_, ok := c.Terminal()
	return ok && c.Env("NO_COLOR") == "" && c.Env("TERM") != "dumb"
}

// Typed reports whether standard input is a terminal.
func (c *Console) Typed() bool {
	f, ok := c.In.(*os.File)
	return ok && terminal.IsTerminal(f)
}

// FirstEnv returns the first of the variables that is set, and its value.
func (c *Console) FirstEnv(names []string) (name, value string) {
	for _, name := range names {
		if value := c.Env(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

// CallTimeout bounds a call to the agent that a person waits for.
const CallTimeout = 10 * time.Second

// HintConfigFlag is the hint where no configuration file is known.
const HintConfigFlag = "name it with --config FILE or STEPUP_CONFIG"

// ConfigFile is --config, else STEPUP_CONFIG, else the default.
func (c *Console) ConfigFile() string {
	return cmp.Or(c.ConfigFlag, paths.DefaultPath(c.Env))
}

// ConfigPath is the absolute path of the configuration file.
func (c *Console) ConfigPath() (string, error) {
	file := c.ConfigFile()
	if file == "" {
		return "", Usage(ErrNoConfigFolder, HintConfigFlag)
	}
	return filepath.Abs(file)
}

// HintInit is the command that writes the configuration file.
func (c *Console) HintInit() string {
	file, err := c.ConfigPath()
	if err != nil {
		return HintConfigFlag
	}
	return paths.HintInit(file, c.Env)
}

// RuntimeDir is the folder with the sockets of the agent.
func (c *Console) RuntimeDir() string { return paths.RuntimeDir(c.Env) }

// Client talks to the agent of this runtime folder, or else to one of this user that was
// started with another environment.
func (c *Console) Client() *control.Client { return control.NewClient(c.sockets()...) }

// ControlSocket is the path of the control socket in RuntimeDir.
func (c *Console) ControlSocket() string { return c.sockets()[0] }

// sockets are the control sockets that an agent of this user may have, that of RuntimeDir
// first.
func (c *Console) sockets() []string {
	dirs := paths.RuntimeDirs(c.Env)
	for i := range dirs {
		dirs[i] = filepath.Join(dirs[i], agent.ControlSocket)
	}
	return dirs
}

// NoOtherAgent fails where an agent of this user runs in another folder than RuntimeDir:
// programs and people would meet one or the other.
func (c *Console) NoOtherAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	for _, socket := range c.sockets()[1:] {
		if st, err := control.NewClient(socket).Status(ctx); err == nil {
			return fmt.Errorf("%w (process %d) in %s", listener.ErrRunning, st.PID, Printable(filepath.Dir(socket)))
		}
	}
	return nil
}

// Load reads the configuration and prints its errors and warnings. Only errors make it
// fail.
func (c *Console) Load() (*agent.Config, error) { return c.LoadWith(c.Env) }

// LoadWith is [Console.Load] with another environment than that of the process.
func (c *Console) LoadWith(env func(string) string) (*agent.Config, error) {
	file, err := c.ConfigPath()
	if err != nil {
		return nil, err
	}
	options := c.ConfigOptions()
	options.Env = env
	read, diagnostics := config.Load(file, options)
	return read, c.PrintDiagnostics(diagnostics)
}

// ConfigOptions are what the configuration depends on.
func (c *Console) ConfigOptions() config.Options {
	return config.Options{Env: c.Env, Shared: c.Shared.Path, Admin: c.Shared.Admin}
}

// OptionsWith are [Console.ConfigOptions] with the value of --shared.
func (c *Console) OptionsWith(shared string) (config.Options, error) {
	options := c.ConfigOptions()
	switch shared {
	case "":
	case "none":
		options.Shared = ""
	default:
		if _, err := os.Stat(shared); err != nil {
			return options, Usage(fmt.Errorf("--shared: %w", err), "name a file, or none")
		}
		options.Shared, options.Admin = shared, os.Geteuid() // it is looked at here, and binds no user
	}
	return options, nil
}

// LoadBeside is [Console.Load] with the value of --shared.
func (c *Console) LoadBeside(shared string) (*agent.Config, error) {
	file, err := c.ConfigPath()
	if err != nil {
		return nil, err
	}
	options, err := c.OptionsWith(shared)
	if err != nil {
		return nil, err
	}
	read, diagnostics := config.Load(file, options)
	return read, c.PrintDiagnostics(diagnostics)
}

// PrintDiagnostics prints errors and warnings of a configuration. It returns an error if
// there are errors, which it has reported.
func (c *Console) PrintDiagnostics(d config.Diagnostics) error {
	if err := d.Write(c.Err, c.Width(), c.Color()); err != nil {
		return err
	}
	if d.HasErrors() {
		return &Error{Err: ErrReported, Code: ExitUsage}
	}
	return nil
}

// quietConfig reads the configuration and prints nothing; it is empty if it has errors.
func (c *Console) quietConfig() agent.Config {
	read, _ := config.Load(c.ConfigFile(), c.ConfigOptions())
	if read == nil {
		return agent.Config{}
	}
	return *read
}
