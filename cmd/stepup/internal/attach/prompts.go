package attach

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt"
)

// Commands are stepup attach, prompts, answer and deny.
func Commands(c *cli.Console) []*cobra.Command {
	return []*cobra.Command{attachCommand(c), promptsCommand(c), answerCommand(c), denyCommand(c)}
}

func promptsCommand(c *cli.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "prompts", Short: "list the questions that are open", Long: textPromptsLong, Args: cli.Takes(0)}
	f := cli.FormatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		open, err := c.Client().Prompts(cmd.Context())
		if err != nil {
			return err
		}
		if *f == cli.FormatJSON {
			// The same object as GET /v1/prompts.
			return cli.WriteJSON(c.Out, map[string][]prompt.Request{"prompts": open})
		}
		if _, err := io.WriteString(c.Out, promptsText(open, time.Now())); err != nil {
			return err
		}
		if len(open) > 0 {
			c.Hint("`stepup answer ID` answers one, `stepup deny ID` says no")
		}
		return nil
	}
	return cmd
}

const textPromptsLong = `Lists the questions that are open, with the ID that "stepup answer" and "stepup
deny" take and the time that is left. With --format json it is the object that
GET /v1/prompts gives.`

const textDenyLong = `Says no to the question with the ID that "stepup prompts" lists; without ID, to
the only one that is open. This also ends a push. A cool-down follows: for a
while the same request is refused without a question ("stepup resume" ends it).`

func denyCommand(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "deny [ID]", Short: "say no to a question", Args: cli.Takes(1), ValidArgsFunction: c.CompleteID,
		Long: textDenyLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, id := c.Client(), ""
			if len(args) > 0 {
				id = args[0]
			} else {
				p, _, err := findPrompt(cmd.Context(), client, nil)
				if err != nil {
					return err
				}
				id = p.ID
			}
			if err := client.Deny(cmd.Context(), id); err != nil {
				return err
			}
			c.Say("denied %s", cli.Printable(id))
			return nil
		},
	}
}

// promptsText lists the prompts that can be answered.
func promptsText(open []prompt.Request, now time.Time) string {
	if len(open) == 0 {
		return "no questions are open\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tLEFT\tKIND\tRULE\tQUESTION")
	for _, p := range open {
		rule := cli.Printable(p.Rule)
		if rule == "" {
			rule = "-" // a login
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", cli.Printable(p.ID), cli.Duration(p.Deadline.Sub(now)), cli.Printable(string(p.Kind)), rule, cli.Question(p))
	}
	_ = table.Flush()
	return b.String()
}
