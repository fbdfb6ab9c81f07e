package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/supervisor"
	"github.com/vault-stepup/stepup/packaging"
)

// The values of --for.
const (
	forSystemd = "systemd"
	forLaunchd = "launchd"
	forWindows = "windows"
)

// managers are the values of --for, that of this system first.
func managers() []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{forLaunchd, forSystemd, forWindows}
	case "windows":
		return []string{forWindows, forSystemd, forLaunchd}
	}
	return []string{forSystemd, forLaunchd, forWindows}
}

func (a *actions) servicePrintCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "print", Short: "print the service's files", Long: textServicePrintLong, Args: cli.Takes(0)}
	which := cli.ChoiceFlag(cmd, "for", "for which service manager", managers()...)
	program := cmd.Flags().String("package", "", "print the systemd units for a package that installs the program at this path")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var files []packaging.File
		var err error
		if cmd.Flags().Changed("package") {
			files, err = packaging.Package(*program)
		} else {
			files, err = a.serviceFiles(cmd.Context(), *which)
		}
		if errors.Is(err, packaging.ErrUnfit) {
			return supervisor.Unfit(err)
		}
		if err != nil {
			return err
		}
		_, err = io.WriteString(a.Out, printedFiles(files))
		return err
	}
	return cmd
}

// serviceFiles are those of this person, as install would write them for a
// service manager that knows nothing of this shell.
func (a *actions) serviceFiles(ctx context.Context, which string) ([]packaging.File, error) {
	p, err := a.plan(ctx, nil)
	if err != nil {
		return nil, err
	}
	switch which {
	case forLaunchd:
		f, err := supervisor.LaunchdFile(a.Console, p.agent)
		return []packaging.File{f}, err
	case forWindows:
		if name := a.Env("USERNAME"); name != "" {
			p.agent.User = strings.TrimPrefix(a.Env("USERDOMAIN")+`\`+name, `\`)
		}
		f, err := packaging.Windows(p.agent)
		return []packaging.File{f}, err
	}
	return packaging.Systemd(p.agent)
}

// printedFiles puts a name above each of several files.
func printedFiles(files []packaging.File) string {
	if len(files) == 1 {
		return files[0].Text
	}
	var b strings.Builder
	for i, f := range files {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n%s", f.Name, f.Text)
	}
	return b.String()
}

const textServicePrintLong = `Prints the files that "install" would write and changes nothing: for
configuration management, or to read them first.

  stepup service print --package /usr/bin/stepup   what a package installs`
