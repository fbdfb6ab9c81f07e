package daemon

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/config"
)

// show is stepup config show.
func (a *configuration) show() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [FILE]", Short: "print what all files of the configuration say together", Long: textConfigShowLong,
		Args: cli.Takes(1), ValidArgsFunction: cli.CompleteConfig,
	}
	format, shared := cli.FormatFlag(cmd), cli.SharedFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		file, options, err := a.files(args, *shared)
		if err != nil {
			return err
		}
		sections, diagnostics := config.Show(file, options)
		if err := a.PrintDiagnostics(diagnostics); err != nil {
			return err
		}
		if *format == cli.FormatJSON {
			return cli.WriteJSON(a.Out, sections)
		}
		return writeSections(a.Out, sections)
	}
	return cmd
}

// files are the user's own file, which the arguments or the environment name, and what belongs to it.
func (a *configuration) files(args []string, shared string) (file string, options config.Options, err error) {
	if options, err = a.OptionsWith(shared); err != nil {
		return "", options, err
	}
	if len(args) > 0 {
		return args[0], options, nil
	}
	file, err = a.ConfigPath()
	return file, options, err
}

// writeSections prints blocks as a file could have them, with the places where they are from.
func writeSections(w io.Writer, sections []config.Section) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	var failed error
	for i, s := range sections {
		if i > 0 {
			fmt.Fprintln(t)
		}
		indent := ""
		if s.Origin == "" {
			indent = "# " // in no file, and some may not be there without an argument
		}
		failed = errors.Join(failed, writeSection(t, s, indent))
	}
	return errors.Join(failed, t.Flush())
}

func writeSection(t *tabwriter.Writer, s config.Section, indent string) error {
	if len(s.Settings)+len(s.Blocks) == 0 {
		_, err := fmt.Fprintf(t, "%s%s {} # %s\n", indent, cli.Printable(s.Title), cli.Printable(s.Origin))
		return err
	}
	fmt.Fprintf(t, "%s%s {\n", indent, cli.Printable(s.Title))
	for _, one := range s.Settings {
		origin, comment := one.Origin, ""
		switch {
		case origin == "":
			origin = "default"
			if s.Origin != "" {
				comment = "# " // an empty list is none that a file may have
			}
		case one.Locked:
			origin += ", locked"
		}
		fmt.Fprintf(t, "%s  %s%s\t= %s\t# %s\n", indent, comment, cli.Printable(one.Name), cli.Printable(one.Value), cli.Printable(origin))
	}
	for _, in := range s.Blocks {
		if err := writeSection(t, in, indent+"  "); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t, "%s}\n", indent)
	return err
}

const textConfigShowLong = `Prints the blocks of all files of the configuration as one: the file for all
users of the machine, your own (FILE; default: the one that the agent would
read), what they include, and the folders stepup.d beside them. Behind each
value stands the file and line that it is from, and whether the shared file has
locked it. Variables stand as in the file, secrets are covered, and of a program
only the name is shown.`
