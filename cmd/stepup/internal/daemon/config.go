package daemon

import (
	"context"
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
		path, err := a.ConfigPath()
		if err != nil {
			return err
		}
		if _, err := os.Lstat(path); err == nil {
			return existsAlready(path) // before the server is asked for nothing
		}
		a.look(cmd.Context(), &start)
		return a.writeStarter(path, start)
	}
	check := &cobra.Command{
		Use: "check [FILE]", Short: "say what is wrong with a configuration", Long: textConfigCheckLong,
		Args: cli.Takes(1), ValidArgsFunction: cli.CompleteConfig,
	}
	shared := cli.SharedFlag(check)
	check.RunE = func(_ *cobra.Command, args []string) error { return a.checkConfig(args, *shared) }
	return cli.Group(&cobra.Command{Use: "config", Short: "check a configuration, show it, or write a first one"},
		append(more, check, a.show(), initialise)...)
}

func (a *configuration) checkConfig(args []string, shared string) error {
	name, parsed, diagnostics, err := a.parse(args, shared)
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

// parse reads the file that the arguments or the environment name. name is what it is called.
func (a *configuration) parse(args []string, shared string) (name string, c *agent.Config, d config.Diagnostics, err error) {
	if len(args) > 0 && args[0] == "-" {
		text, err := io.ReadAll(io.LimitReader(a.In, maxConfig))
		if err != nil {
			return "", nil, d, fmt.Errorf("reading standard input: %w", err)
		}
		c, d = config.Parse(textStdinName, text, config.Options{Env: a.Env})
		return textStdinName, c, d, nil
	}
	file, options, err := a.files(args, shared)
	if err != nil {
		return "", nil, d, err
	}
	if c, d = config.Load(file, options); c == nil {
		return file, nil, d, nil
	}
	if len(c.Files) == 1 {
		return c.Files[0], c, d, nil // it may be the shared one, with no file of the user's
	}
	return strings.Join(c.Files, ", "), c, d, nil
}

// A starter is a first configuration.
type starter struct {
	address string
	origin  string // where the address comes from, for people; "" for a flag
	invent  bool   // the address is only an example
	text    []byte
	found   []string // about the server, for people
}

// look takes what the environment says, asks the server, and makes the text. A server that
// does not answer is no reason for no file: it may be behind a VPN.
func (a *configuration) look(ctx context.Context, s *starter) {
	taken := a.environment(s.address)
	s.text = config.Starter(s.address, taken, nil)
	for _, one := range taken {
		s.found = append(s.found, fmt.Sprintf("%s = %s, from the environment", one.Name, cli.Printable(one.Value)))
	}
	if s.invent {
		return
	}
	p, err := a.probe(ctx, s.text)
	if err != nil {
		a.Notify("warning: the server cannot be asked: %s", cli.Printable(err.Error()))
		a.Hint("`stepup doctor` says more once the file is there")
		return
	}
	s.found = append(s.found, p.lines()...)
	proposals := p.proposals()
	s.text = config.Starter(s.address, taken, proposals)
	for _, one := range proposals {
		s.found = append(s.found, fmt.Sprintf("the file proposes %s: %s", one.Name, one.About))
	}
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
	for _, name := range []string{"VAULT_ADDR", "BAO_ADDR"} {
		if address = a.Env(name); vaultcli.Remote(address) && a.addressProblem(address) == "" {
			return starter{address: address, origin: "from " + name}, nil
		}
	}
	return starter{address: exampleAddress, origin: "an example: put your own in", invent: true}, nil
}

// addressProblem returns what is wrong with the address of a Vault server, or "". Problems
// that the starter has with any address (a runtime folder with a long path) do not count.
func (a *configuration) addressProblem(address string) string {
	if address == "" {
		return "it is empty"
	}
	return a.starterProblem(address, nil)
}

// starterProblem is addressProblem for an address with arguments of its block.
func (a *configuration) starterProblem(address string, arguments []config.Argument) string {
	problems := func(address string, arguments []config.Argument) []string {
		_, d := config.Parse("", config.Starter(address, arguments, nil), config.Options{Env: a.Env})
		var all []string
		for _, diagnostic := range d.All() {
			all = append(all, diagnostic.Summary)
		}
		return all
	}
	anyway := problems(exampleAddress, nil)
	for _, problem := range problems(address, arguments) {
		if !slices.Contains(anyway, problem) {
			return problem
		}
	}
	return ""
}

func existsAlready(path string) error {
	return &cli.Error{
		Err:  fmt.Errorf("%s exists already", cli.Printable(path)),
		Hint: "edit it, or write another with --config FILE; `stepup config check` says whether it is good",
	}
}

func (a *configuration) writeStarter(path string, s starter) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// O_EXCL: a file that is there is never lost, nor what a link points to.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return existsAlready(path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(s.text)
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
	textConfigCheckLong = `Reads FILE (- is standard input; default: the file that the agent would read),
the file for all users of the machine, and what they include, and says what is
wrong with them, with file and line. Exits with 2 when the agent would not start
on it.`

	textConfigInitLong = `Writes a commented configuration, never over one that is there. Without
--address, it takes VAULT_ADDR or BAO_ADDR if that names another machine, else
an example that has to be edited.

The certificates, the server name and the namespace are taken from the
environment, as Vault's clients have them: VAULT_CACERT, VAULT_CAPATH,
VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME, VAULT_NAMESPACE, or
those of OpenBao (BAO_CACERT). The server is asked for its health and the auth
methods that it shows to everybody, for five seconds at most and without a
token; the file is written if it does not answer.`

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
	fmt.Fprintf(&b, "wrote %s\nfor the Vault server at %s%s\n", cli.Printable(path), cli.Printable(s.address), origin)
	for _, line := range s.found {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	b.WriteString("\nnext:\n")
	if s.invent {
		fmt.Fprintf(&b, "  edit the address in %s\n", cli.Printable(filepath.Base(path)))
	}
	fmt.Fprintf(&b, "  stepup config check%s\n  stepup agent%s\n", flag, flag)
	return b.String()
}
