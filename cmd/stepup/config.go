package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/config"
)

// maxConfig is more than package config takes.
const maxConfig = 16 << 20

func (a *app) configCommand() *cobra.Command {
	initialise := &cobra.Command{Use: "init", Short: textConfigInit, Long: textConfigInitLong, Args: takes(0)}
	address := initialise.Flags().String("address", "", textAddressFlag)
	initialise.RunE = func(cmd *cobra.Command, _ []string) error {
		start, err := a.starter(*address, cmd.Flags().Changed("address"))
		if err != nil {
			return err
		}
		return a.writeStarter(start)
	}
	return group(&cobra.Command{Use: "config", Short: textConfig},
		&cobra.Command{
			Use: "check [FILE]", Short: textConfigCheck, Long: textConfigCheckLong, Args: takes(1), ValidArgsFunction: completeConfig,
			RunE: func(_ *cobra.Command, args []string) error { return a.checkConfig(args) },
		},
		initialise,
	)
}

func (a *app) checkConfig(args []string) error {
	name, parsed, diagnostics, err := a.parse(args)
	if err != nil {
		return err
	}
	if err := diagnostics.Write(a.err, a.width(), a.color()); err != nil {
		return err
	}
	if diagnostics.HasErrors() {
		return &hinted{error: errReported, code: exitUsage}
	}
	a.say("%s", checkedText(name, parsed))
	return nil
}

// parse reads the file that the arguments or the environment name.
func (a *app) parse(args []string) (name string, c *config.Config, d config.Diagnostics, err error) {
	if len(args) > 0 && args[0] == "-" {
		text, err := io.ReadAll(io.LimitReader(a.in, maxConfig))
		if err != nil {
			return "", nil, d, fmt.Errorf(textStdin, err)
		}
		c, d = config.Parse(textStdinName, text, a.configOptions())
		return textStdinName, c, d, nil
	}
	file := ""
	if len(args) > 0 {
		file = args[0]
	} else if file, err = a.configPath(); err != nil {
		return "", nil, d, err
	}
	c, d = config.Load(file, a.configOptions())
	return filepath.Base(file), c, d, nil
}

// configPath is the absolute path of the configuration file.
func (a *app) configPath() (string, error) {
	file := a.configFile()
	if file == "" {
		return "", usage(errNoConfigFolder, hintConfigFlag)
	}
	return filepath.Abs(file)
}

// A starter is a first configuration.
type starter struct {
	address string
	origin  string // how the address was found, for people; "" when they said it
	invent  bool   // the address is only an example
}

// starter finds the address of the Vault server. VAULT_ADDR is a proposal only
// here, where the person reads it; the agent itself never looks at it, because
// it usually names the agent.
func (a *app) starter(address string, given bool) (starter, error) {
	if given {
		if problem := a.addressProblem(address); problem != "" {
			return starter{}, usage(fmt.Errorf("--address: %s", problem), hintAddress)
		}
		return starter{address: address}, nil
	}
	if address = a.env("VAULT_ADDR"); remote(address) && a.addressProblem(address) == "" {
		return starter{address: address, origin: textFromVaultAddr}, nil
	}
	return starter{address: exampleAddress, origin: textExample, invent: true}, nil
}

// addressProblem says what is wrong with the address of a Vault server. What the
// starter has to be blamed for with any address (a runtime folder with a long
// path) is not the address's fault.
func (a *app) addressProblem(address string) string {
	if address == "" {
		return textEmpty // what Starter takes for Vault's default
	}
	problems := func(address string) []string {
		_, d := config.Parse("", config.Starter(address), a.configOptions())
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

// remote reports whether an address is that of another machine, and so not of
// an agent of ours.
func remote(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || strings.EqualFold(u.Hostname(), "localhost") {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "" && (ip == nil || !ip.IsLoopback() && !ip.IsUnspecified())
}

func (a *app) writeStarter(s starter) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// O_EXCL: what somebody has written is never lost, nor what a link points to.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &hinted{error: fmt.Errorf(textExists, printable(path)), hint: hintExists}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(config.Starter(s.address))
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a file would pass for one that somebody wrote
	}
	flag := ""
	if a.configFlag != "" {
		flag = " --config " + shellQuote(a.configFlag)
	}
	_, err = io.WriteString(a.out, wroteText(path, s, flag))
	return err
}
