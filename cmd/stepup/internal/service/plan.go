package service

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
	"github.com/vault-stepup/stepup/config/paths"
	"github.com/vault-stepup/stepup/packaging"
)

// A plan is what the service of this person is to be.
type plan struct {
	agent packaging.Agent
	notes []string // what the person should know before they rely on it
}

// plan makes the plan of the configuration, which must be good: a service that cannot
// start would be found out when it is needed. s is nil where the files are only printed.
func (a *actions) plan(ctx context.Context, s supervisor.Supervisor) (p plan, err error) {
	file, err := a.ConfigPath()
	if err != nil {
		return p, err
	}
	used := make(map[string]bool)
	c, err := a.LoadWith(func(name string) string { used[name] = true; return a.Env(name) })
	if err != nil {
		return p, err
	}
	program, err := cli.ProgramPath()
	if err != nil {
		return p, err
	}
	env := a.Env
	if known, ok := s.(supervisor.Systemd); ok {
		if env, err = known.Environment(ctx); err != nil {
			return p, err
		}
	}
	runtimeDir, controlSocket := env("XDG_RUNTIME_DIR"), a.ControlSocket()
	if runtimeDir == "" && a.Env("STEPUP_RUNTIME_DIR") == "" {
		// Printed in no session, for others: in theirs there is one.
		runtimeDir = "/run/user/0"
		controlSocket = runtimeDir + "/stepup/" + agent.ControlSocket
	}
	p.agent = packaging.Agent{Program: program, RuntimeDir: runtimeDir, Listen: supervisor.FixedAddresses(c, controlSocket)}
	a.pin(&p.agent, file, env)
	p.notes = a.missingThere(used, c, env)
	return p, nil
}

// pin writes down what this shell knows and the service would not find by
// itself.
func (a *actions) pin(p *packaging.Agent, file string, env func(string) string) {
	bare := func(name string) string { // nothing of ours is set there for good
		if strings.HasPrefix(name, "STEPUP_") {
			return ""
		}
		return env(name)
	}
	if file != paths.DefaultPath(bare) {
		p.Config = file
	}
	if dir := a.RuntimeDir(); dir != paths.RuntimeDir(bare) {
		p.Env = append(p.Env, "STEPUP_RUNTIME_DIR="+dir)
	}
	if dir := paths.StateDir(a.Env); dir != paths.StateDir(bare) {
		p.Env = append(p.Env, "STEPUP_STATE_DIR="+dir)
	}
}

// missingThere says what is set in this shell, matters to the agent, and is not
// known to the service manager. Only names are told: a proxy may have a password.
func (a *actions) missingThere(used map[string]bool, c *agent.Config, env func(string) string) []string {
	var notes []string
	// The ones that decide the way to Vault: package vault reads them.
	names := []string{"VAULT_PROXY_ADDR", "BAO_PROXY_ADDR", "VAULT_HTTP_PROXY", "BAO_HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"}
	for name := range used {
		if !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "STEPUP_") && name != "HOME" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if a.Env(name) != "" && env(name) == "" {
			notes = append(notes, fmt.Sprintf("%s is set in this shell, but not for the service; if it needs it, put it into a file in ~/.config/environment.d and log in again", cli.Printable(name)))
		}
	}
	for _, program := range programsOf(c) {
		if path := env("PATH"); path != "" && !foundIn(path, program) {
			notes = append(notes, fmt.Sprintf("the service does not find %s in its PATH; write the full path into the configuration", cli.Printable(program)))
		}
	}
	return notes
}

// programsOf are the programs that a configuration starts by their names.
func programsOf(c *agent.Config) []string {
	var all []string
	add := func(command []string) {
		if len(command) > 0 && !strings.ContainsRune(command[0], filepath.Separator) {
			all = append(all, command[0])
		}
	}
	add(c.Prompt.Command)
	for _, m := range c.Methods {
		add(m.PasscodeCommand)
	}
	for _, r := range c.Rules {
		add(r.Grant.PasswordCommand)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// foundIn reports whether one of the folders of path has the program.
func foundIn(path, program string) bool {
	for _, dir := range filepath.SplitList(path) {
		if _, err := exec.LookPath(filepath.Join(dir, program)); filepath.IsAbs(dir) && err == nil {
			return true
		}
	}
	return false
}
