// Package daemon is stepup agent, and the commands about it: config, status and lock.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/pathwatch"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/setup"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// reloadDelay is how long a configuration file must be left alone before it is read
// again: editors write, rename and touch in a burst.
const reloadDelay = 200 * time.Millisecond

// reloadDelayLimit is the longest wait for that: the folder may be one in which
// something is always written.
const reloadDelayLimit = 2 * time.Second

// Agent is stepup agent.
func Agent(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use:   "agent",
		Short: "run the agent in the foreground",
		Long:  textAgentLong,
		Args:  cli.Takes(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), c) },
	}
}

const textAgentLong = `Runs the agent in the foreground: it listens where the listener blocks of the
configuration say, relays what programs send, and asks you when Vault wants a
second factor, on this terminal and in the other places that "stepup status"
lists. Its log goes to standard error.

ctrl-c   says no to the question on the screen; while nothing is asked, it stops
         the agent, and so does SIGTERM

A changed configuration is read again by itself, and on SIGHUP. One that cannot
be used is reported, and the one before stays in force. "stepup service install"
runs the agent with your session instead.

Exits with 2 when the configuration cannot be used, and with 1 when it cannot
listen, for example because an agent of yours runs already.`

func runAgent(ctx context.Context, from *cli.Console) error {
	screen := terminal.New(terminal.Config{Getenv: from.Env})
	ctx, stop, release := untilSignal(ctx, func() bool { return screen.JustDenied(secondPress) })
	defer release()
	manager := newServiceManager()
	file, err := from.ConfigPath()
	if err != nil {
		return err
	}
	files := config.FilesOf(file, from.ConfigOptions())
	watcher := pathwatch.New(files.Watch...)
	c, err := from.Load()
	if err != nil {
		return err
	}
	if err := from.NoOtherAgent(ctx); err != nil {
		return err
	}
	output := setup.NewForegroundLog(c.Log, from.Err, screen)
	log, askpass := output.Logger(), setup.NewAskpass(from.Env)
	for _, note := range askpass.Notes() {
		log.Warn("environment", "warning", note)
	}
	c.Prompt.Prompters = setup.ForegroundPrompters(c.Prompt, askpass, log, screen)
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	program := newProgram()
	notes := func() []string {
		return slices.Concat(program.notes(), goneNotes(c.Files), watchNotes(watcher), askpass.Notes())
	}
	var running *agent.Agent
	running = agent.New(*c, agent.Options{
		RuntimeDir: from.RuntimeDir(),
		Version:    cli.Version(),
		Log:        log,
		Keyring:    cli.Keyring(),
		Sockets:    manager.sockets,
		Notes:      notes,
		Ready: func() {
			log.Info("ready", "config", file)
			close(ready)
			manager.ready(textServing)
			group.Go(func() error { manager.guard(ctx, running.Alive, log); return nil })
		},
	})
	r := &reloader{
		console: from, agent: running, file: file, watcher: watcher, files: files, ready: ready, config: c, log: log, output: output, manager: manager,
		askpass: askpass, screen: screen, terminal: terminal.Announce("") == nil && !signal.Ignored(syscall.SIGHUP), stop: stop,
	}
	group.Go(func() error { defer stop(); return running.Run(ctx) })
	group.Go(func() error { r.run(ctx); return nil })
	group.Go(func() error { watcher.Run(ctx); return nil })
	group.Go(func() error { newCollector().run(ctx); return nil })
	group.Go(func() error { <-ctx.Done(); manager.stopping(); return nil })
	err = group.Wait()
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// A reloader gives the agent the configuration again when it was changed, and at a
// SIGHUP.
type reloader struct {
	console  *cli.Console
	agent    *agent.Agent
	file     string
	watcher  *pathwatch.Watcher // of the files
	files    config.Files       // as they were last read
	ready    <-chan struct{}    // closed when the agent takes another one
	config   *agent.Config      // in force
	log      *slog.Logger
	output   *setup.LogOutput
	askpass  setup.Askpass
	screen   *terminal.Prompter // of this process, for every configuration
	manager  serviceManager     // gets the result of each reload
	terminal bool               // the agent ends with the terminal that it was started on
	stop     func()             // ends the agent
}

func (r *reloader) run(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	delay := time.NewTimer(time.Hour)
	delay.Stop()
	ready, problem := r.ready, ""
	var since time.Time // of the first change since the file was last read; zero without one
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if r.terminal && terminal.Announce("") != nil {
				// Without this, an agent would go on that can ask nothing, and is not seen.
				r.log.Warn("the terminal of this agent was closed: stopping")
				r.stop()
				return
			}
			r.changed()
			r.reload(ctx)
		case <-ready:
			// The file may have changed meanwhile.
			ready = nil
			delay.Reset(reloadDelay)
		case <-r.watcher.Changed():
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) < reloadDelayLimit {
				delay.Reset(reloadDelay)
			}
		case <-delay.C:
			since = time.Time{}
			if ready != nil {
				continue // the file is read again when the agent is ready
			}
			if now := r.watcher.Problem(); now != problem && now != "" {
				r.log.Warn("the configuration cannot be watched: it is looked at every 30 s, a SIGHUP reloads at once", "error", now)
			}
			problem = r.watcher.Problem()
			if r.changed() {
				r.reload(ctx)
			}
		}
	}
}

// changed reports whether the files are others than when they were last read, and are there. From
// then on those are watched that are now of interest.
func (r *reloader) changed() bool {
	now := config.FilesOf(r.file, r.console.ConfigOptions())
	if !slices.Equal(now.Watch, r.files.Watch) {
		r.watcher.Watch(now.Watch...)
		now.Digest = config.FilesOf(r.file, r.console.ConfigOptions()).Digest // they were not watched yet
		r.files.Watch = now.Watch
	}
	if now.Digest == "" || now.Digest == r.files.Digest {
		return false
	}
	r.files.Digest = now.Digest
	return true
}

// goneNotes are about the files that the agent was started with: one that is not there, as
// while a folder is replaced, changes nothing until it is there again.
func goneNotes(files []string) (notes []string) {
	for _, name := range files {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			notes = append(notes, fmt.Sprintf("the configuration file %s is gone: what it said stays in force until it is there again", name))
		}
	}
	return notes
}

// watchNotes are for the status.
func watchNotes(w *pathwatch.Watcher) []string {
	if problem := w.Problem(); problem != "" {
		return []string{fmt.Sprintf("the configuration file cannot be watched (%s): a change is seen within 30 s; `kill -HUP` of the agent reloads it at once", problem)}
	}
	if reason := w.Outside(); reason != "" {
		return []string{fmt.Sprintf("of the configuration file, changes from elsewhere are seen within 30 s only: %s", reason)}
	}
	return nil
}

func (r *reloader) reload(ctx context.Context) {
	r.manager.reloading()
	if err := r.replace(ctx); err != nil {
		r.log.Error(textReloadFailed, "error", err)
		r.manager.ready(fmt.Sprintf("the configuration has an error, the one from before stays in force: %v", err))
		return
	}
	r.manager.ready(textServing)
}

// replace gives the agent the present content of the file.
func (r *reloader) replace(ctx context.Context) error {
	c, diagnostics := config.Load(r.file, r.console.ConfigOptions())
	for _, warning := range diagnostics.Warnings() {
		r.log.Warn("configuration", "warning", warning)
	}
	if err := diagnostics.Err(); err != nil {
		r.agent.ReloadFailed(err)
		return err
	}
	c.Prompt.Prompters = setup.ForegroundPrompters(c.Prompt, r.askpass, r.log, r.screen)
	c.Changes = config.Changes(r.config, c)
	if err := r.agent.Reload(ctx, *c); err != nil {
		return err
	}
	r.config = c
	// The line is written with the old level, or else with the new one.
	before := r.log.Enabled(ctx, slog.LevelInfo)
	if before {
		r.log.Info(textReloaded+c.Changes, "config", r.file)
	}
	r.output.Set(c.Log)
	if !before {
		r.log.Info(textReloaded+c.Changes, "config", r.file)
	}
	return nil
}

// Texts of several places.
const (
	textServing      = "serving"
	textReloaded     = "config reloaded: "
	textReloadFailed = "reload failed, the old configuration stays in force"
)
