// Package configtest is stepup config test: it sends the requests of a file through an agent
// with the configuration, to a Vault that refuses them, and compares rule and question.
package configtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/config/layers"
	"github.com/vault-stepup/stepup/config/requests"
)

// Command is stepup config test.
func Command(c *cli.Console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "test FILE", Short: "compare rules and questions with what a file expects", Long: textLong,
		Args: cli.Takes(0, "FILE"), ValidArgsFunction: cli.CompleteConfig,
	}
	shared := cli.SharedFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), c, args[0], *shared) }
	return cmd
}

func run(ctx context.Context, c *cli.Console, file, shared string) error {
	settings, err := c.LoadBeside(shared)
	if err != nil {
		return err
	}
	all, err := read(c, file)
	if err != nil {
		return err
	}
	failed := 0
	for _, one := range all {
		got, err := play(ctx, *settings, one)
		if err != nil {
			return fmt.Errorf("the agent did not start: %w", err)
		}
		differs := compare(one, got)
		word := "ok  "
		if len(differs) > 0 {
			word = "FAIL"
			failed++
		}
		c.Say("%s  %s: %s", word, cli.Printable(one.At), cli.Printable(one.Name))
		for _, line := range differs {
			c.Say("      %s", cli.Printable(line))
		}
	}
	c.Say("%s, %d failed", cli.Counted(len(all), "request"), failed)
	if failed > 0 {
		return &cli.Error{Err: cli.ErrReported, Code: cli.ExitFailed}
	}
	return nil
}

// read reads the requests, and prints what is wrong with their file.
func read(c *cli.Console, file string) ([]requests.Request, error) {
	const limit = 1 << 20
	text, err := layers.ReadFile(file, limit)
	if err != nil {
		return nil, cli.Usage(fmt.Errorf("cannot read %s: %s", cli.Printable(file), layers.Cause(err)), "name a file with request blocks")
	}
	all, problems := requests.Parse(file, text)
	if !problems.Any() {
		return all, nil
	}
	err = problems.Write(c.Err, c.Width(), c.Color())
	return nil, errors.Join(err, &cli.Error{Err: cli.ErrReported, Code: cli.ExitUsage})
}

// compare lists how a result differs from what was expected.
func compare(want requests.Request, got result) (lines []string) {
	if got.err != nil {
		return []string{"error     " + got.err.Error()}
	}
	if got.rule != want.Rule {
		lines = append(lines, "rule      got  "+orNone(got.rule), "          want "+orNone(want.Rule))
	}
	asked := strings.Join(got.question, "; ")
	missing := slices.DeleteFunc(slices.Clone(want.Words), func(words string) bool { return strings.Contains(strings.ToLower(asked), strings.ToLower(words)) })
	switch {
	case want.Words == nil:
	case len(want.Words) == 0 && asked != "":
		lines = append(lines, "question  got  "+asked, "          want none")
	case len(missing) > 0:
		lines = append(lines, "question  got  "+orNone(asked))
		for _, words := range missing {
			lines = append(lines, "          want "+words)
		}
	}
	return lines
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

const textLong = `Reads requests from FILE, sends each through an agent with this configuration to
a Vault that refuses it for want of a second factor, and says which rule it came
under and what the person would be asked first. Neither a real Vault nor a
person has a part in it, no program of the configuration is started, and no
keyring is asked.

  request "reading the password of the database" {
    method    = "GET"                   # of HTTP; the default
    path      = "kv/data/prod/db"
    namespace = ""                      # X-Vault-Namespace
    vault     = "corp"                  # where there are several
    token     = true                    # false: it carries no token
    login     = ["corp_totp"]           # a login that wants one of these
    rule      = "prod"                  # expected; "" for none
    words     = ["passcode", "prod/db"] # of the question; [] for no question
  }

Exits with 0 if all is as expected, with 1 if something differs, and with 2 if
FILE or the configuration has an error.`
