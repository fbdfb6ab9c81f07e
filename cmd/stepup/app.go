package main

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/config"
	"github.com/vault-stepup/stepup/ownership"
	"github.com/vault-stepup/stepup/prompt"
)

// Exit codes of every command.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // wrong usage or configuration
	exitRefused = 3 // a person was asked by this command and denied or did not answer
	exitNoAgent = 4
)

// An app is one run of stepup.
type app struct {
	console
	configFlag string // --config
}

// A hinted error knows the way out.
type hinted struct {
	error
	hint string
	code int // 0 means exitFailed
}

func (h *hinted) Unwrap() error { return h.error }

// usage marks an error as the caller's.
func usage(err error, hint string) error { return &hinted{error: err, hint: hint, code: exitUsage} }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "stepup",
		Short:         textShort,
		Long:          textLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(helpCommand())
	root.PersistentFlags().StringVar(&a.configFlag, "config", "", textConfigFlag)
	completeFlag(root, "config", completeConfig)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err, seeHelp(cmd.CommandPath()))
	})
	root.AddGroup(
		&cobra.Group{ID: groupAgent, Title: textGroupAgent},
		&cobra.Group{ID: groupPrompts, Title: textGroupPrompts},
		&cobra.Group{ID: groupSecrets, Title: textGroupSecrets})
	root.AddCommand(a.commands()...)
	for _, cmd := range root.Commands() {
		wrapArgs(cmd)
	}
	return root
}

// wrapArgs makes wrong arguments a usage error in every command below cmd.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if h := (*hinted)(nil); err != nil && !errors.As(err, &h) {
				return usage(err, seeHelp(cmd.CommandPath()))
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// report prints an error for people and returns the exit code that it means.
func (a *app) report(err error) int {
	var h *hinted
	errors.As(err, &h)
	var unsafe *ownership.Unsafe
	switch {
	case errors.Is(err, control.ErrNoAgent):
		a.fail(noAgent(a.runtimeDir()), hintStartAgent)
		return exitNoAgent
	case errors.As(err, &unsafe):
		a.fail(err, unsafe.Fix())
	case errors.Is(err, agent.ErrRunning):
		a.fail(err, hintOneAgent)
	case addressTaken(err):
		a.fail(err, hintAddressTaken)
	case errors.Is(err, prompt.ErrUnknown):
		a.fail(err, hintListPrompts)
	case errors.Is(err, errReported):
	case h != nil:
		a.fail(err, h.hint)
	default:
		a.fail(err, "")
	}
	if h != nil && h.code != 0 {
		return h.code
	}
	return exitFailed
}

// configFile is --config, else STEPUP_CONFIG, else the default.
func (a *app) configFile() string {
	if a.configFlag != "" {
		return a.configFlag
	}
	if file := a.env("STEPUP_CONFIG"); file != "" {
		return file
	}
	return config.DefaultPath(a.env)
}

func (a *app) runtimeDir() string { return config.RuntimeDir(a.env) }

// client talks to the agent of this runtime folder.
func (a *app) client() *control.Client {
	return control.NewClient(filepath.Join(a.runtimeDir(), agent.ControlSocket))
}

// load reads the configuration and prints what is wrong with it. Warnings are
// printed and do not stop anything.
func (a *app) load() (*config.Config, error) { return a.loadWith(func(*config.Options) {}) }

// loadWith is load with other options than those of the process.
func (a *app) loadWith(change func(*config.Options)) (*config.Config, error) {
	file, err := a.configPath()
	if err != nil {
		return nil, err
	}
	options := a.configOptions()
	change(&options)
	c, diagnostics := config.Load(file, options)
	if err := diagnostics.Write(a.err, a.width(), a.color()); err != nil {
		return nil, err
	}
	if diagnostics.HasErrors() {
		return nil, &hinted{error: errReported, code: exitUsage}
	}
	return c, nil
}

func (a *app) configOptions() config.Options {
	return config.Options{Env: a.env, RuntimeDir: a.runtimeDir(), StateDir: config.StateDir(a.env)}
}
