package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
	"github.com/vault-stepup/stepup/config"
)

// maxConfig is more than package config takes.
const maxConfig = 16 << 20

// A configuration is stepup config.
type configuration struct{ *cli.Console }

// Config is stepup config. More are subcommands from elsewhere.
func Config(c *cli.Console, more ...*cobra.Command) *cobra.Command {
	a := &configuration{c}
	initialise := &cobra.Command{Use: "init", Short: "write a commented first configuration", Long: textConfigInitLong, Args: cli.Takes(0)}
	address := initialise.Flags().String("address", "", "address of the Vault server, such as https://vault.example.com:8200")
	initialise.RunE = func(cmd *cobra.Command, _ []string) error {
		start, err := a.starter(*address, cmd.Flags().Changed("address"))
		if err != nil {
			return err
		}
		return a.writeStarter(start)
	}
	return cli.Group(&cobra.Command{Use: "config", Short: "check a configuration, or write a first one"}, append(more,
		&cobra.Command{
			Use: "check [FILE]", Short: "say what is wrong with a configuration", Long: textConfigCheckLong,
			Args: cli.Takes(1), ValidArgsFunction: cli.CompleteConfig,
			RunE: func(_ *cobra.Command, args []string) error { return a.checkConfig(args) },
		},
		initialise,
	)...)
}

func (a *configuration) checkConfig(args []string) error {
	name, parsed, diagnostics, err := a.parse(args)
	if err != nil {
		return err
	}
	if err := a.PrintDiagnostics(diagnostics); err != nil {
		return err
	}
	a.Say("%s: %s, %s, %s: ok", cli.Printable(name), cli.Counted(len(parsed.Vaults), "vault"),
		cli.Counted(len(parsed.Listeners), "listener"), cli.Counted(len(parsed.Rules), "rule"))
	return nil
}

// parse reads the file that the arguments or the environment name.
func (a *configuration) parse(args []string) (name string, c *agent.Config, d config.Diagnostics, err error) {
	if len(args) > 0 && args[0] == "-" {
		text, err := io.ReadAll(io.LimitReader(a.In, maxConfig))
		if err != nil {
			return "", nil, d, fmt.Errorf("reading standard input: %w", err)
		}
		c, d = config.Parse(textStdinName, text, config.Options{Env: a.Env})
		return textStdinName, c, d, nil
	}
	file := ""
	if len(args) > 0 {
		file = args[0]
	} else if file, err = a.ConfigPath(); err != nil {
		return "", nil, d, err
	}
	c, d = config.Load(file, config.Options{Env: a.Env})
	return filepath.Base(file), c, d, nil
}

// A starter is a first configuration.
type starter struct {
	address string
	origin  string // where the address comes from, for people; "" for a flag
	invent  bool   // the address is only an example
}

// starter finds the address of the Vault server. VAULT_ADDR is a proposal only
// here, where the person reads it; the agent itself never looks at it, because
// it usually names the agent.
func (a *configuration) starter(address string, given bool) (starter, error) {
	if given {
		if problem := a.addressProblem(address); problem != "" {
			return starter{}, cli.Usage(fmt.Errorf("--address: %s", problem), "write the address as in --address https://vault.example.com:8200")
		}
		return starter{address: address}, nil
	}
	if address = a.Env("VAULT_ADDR"); vaultcli.Remote(address) && a.addressProblem(address) == "" {
		return starter{address: address, origin: "from VAULT_ADDR"}, nil
	}
	return starter{address: exampleAddress, origin: "an example: put your own in", invent: true}, nil
}

// addressProblem returns what is wrong with the address of a Vault server, or "". Problems
// that the starter has with any address (a runtime folder with a long path) do not count.
func (a *configuration) addressProblem(address string) string {
	if address == "" {
		return "it is empty"
	}
	problems := func(address string) []string {
		_, d := config.Parse("", config.Starter(address), config.Options{Env: a.Env})
		var all []string
		for _, diagnostic := range d.All() {
			all = append(all, diagnostic.Summary)
		}
		return all
	}
	anyway := problems(exampleAddress)
	for _, problem := range problems(address) {
		if !slices.Contains(anyway, problem) {
			return problem
		}
	}
	return ""
}

func (a *configuration) writeStarter(s starter) error {
	path, err := a.ConfigPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// O_EXCL: a file that is there is never lost, nor what a link points to.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &cli.Error{
			Err:  fmt.Errorf("%s exists already", cli.Printable(path)),
			Hint: "edit it, or write another with --config FILE; `stepup config check` says whether it is good",
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(config.Starter(s.address))
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a file would pass for a whole one
	}
	flag := ""
	if a.ConfigFlag != "" {
		flag = " --config " + cli.ShellQuote(a.ConfigFlag)
	}
	_, err = io.WriteString(a.Out, wroteText(path, s, flag))
	return err
}

// The help, and texts of several places.
const (
	textConfigCheckLong = `Reads FILE (- is standard input; default: the file that the agent would read)
and says what is wrong with it, with file and line. Exits with 2 when the agent
would not start on it.`

	textConfigInitLong = `Writes a commented configuration, never over one that is there. Without
--address, it takes VAULT_ADDR if that names another machine, else an example
that has to be edited.`

	textStdinName  = "standard input"
	exampleAddress = "https://vault.example.com:8200"
)

// wroteText lists the file that was written, and the commands to run next. flag is what the
// next commands need to find the file, with a blank before it, or "".
func wroteText(path string, s starter, flag string) string {
	var b strings.Builder
	origin := ""
	if s.origin != "" {
		origin = " (" + s.origin + ")"
	}
	fmt.Fprintf(&b, "wrote %s\nfor the Vault server at %s%s\n\nnext:\n", cli.Printable(path), cli.Printable(s.address), origin)
	if s.invent {
		fmt.Fprintf(&b, "  edit the address in %s\n", cli.Printable(filepath.Base(path)))
	}
	fmt.Fprintf(&b, "  stepup config check%s\n  stepup agent%s\n", flag, flag)
	return b.String()
}
