package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/config"
)

// CallTimeout bounds a call to the agent that a person waits for.
const CallTimeout = 10 * time.Second

// HintConfigFlag is the way out where no configuration file is known.
const HintConfigFlag = "name it with --config FILE or STEPUP_CONFIG"

// ConfigFile is --config, else STEPUP_CONFIG, else the default.
func (c *Console) ConfigFile() string {
	if c.ConfigFlag != "" {
		return c.ConfigFlag
	}
	if file := c.Env("STEPUP_CONFIG"); file != "" {
		return file
	}
	return config.DefaultPath(c.Env)
}

// ConfigPath is the absolute path of the configuration file.
func (c *Console) ConfigPath() (string, error) {
	file := c.ConfigFile()
	if file == "" {
		return "", Usage(ErrNoConfigFolder, HintConfigFlag)
	}
	return filepath.Abs(file)
}

// RuntimeDir is the folder with the sockets of the agent.
func (c *Console) RuntimeDir() string { return config.RuntimeDir(c.Env) }

// Client talks to the agent of this runtime folder.
func (c *Console) Client() *control.Client {
	return control.NewClient(filepath.Join(c.RuntimeDir(), agent.ControlSocket))
}

// ReplaceFile writes a file as a whole or not at all, with this mode.
func ReplaceFile(file, text string, mode fs.FileMode) error {
	fresh, err := os.CreateTemp(filepath.Dir(file), ".stepup-*")
	if err != nil {
		return err
	}
	_, err = fresh.WriteString(text)
	if err = errors.Join(err, fresh.Chmod(mode), fresh.Sync(), fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return nil
}

// Load reads the configuration and prints what is wrong with it. Warnings are
// printed and do not stop anything.
func (c *Console) Load() (*agent.Config, error) { return c.LoadWith(func(*config.Options) {}) }

// LoadWith is [Console.Load] with other options than those of the process.
func (c *Console) LoadWith(change func(*config.Options)) (*agent.Config, error) {
	file, err := c.ConfigPath()
	if err != nil {
		return nil, err
	}
	options := c.ConfigOptions()
	change(&options)
	read, diagnostics := config.Load(file, options)
	if err := diagnostics.Write(c.Err, c.Width(), c.Color()); err != nil {
		return nil, err
	}
	if diagnostics.HasErrors() {
		return nil, &Error{Err: ErrReported, Code: ExitUsage}
	}
	return read, nil
}

// ConfigOptions are what the process knows of the places in a configuration.
func (c *Console) ConfigOptions() config.Options {
	return config.Options{Env: c.Env, RuntimeDir: c.RuntimeDir(), StateDir: config.StateDir(c.Env)}
}

// running returns the status of the agent, if one answers.
func (c *Console) running(ctx context.Context) (control.Status, bool) {
	status, err := c.Client().Status(ctx)
	return status, err == nil
}

// quietConfig is the configuration without a word about what is wrong with it.
func (c *Console) quietConfig() (*agent.Config, bool) {
	read, _ := config.Load(c.ConfigFile(), c.ConfigOptions())
	return read, read != nil
}
