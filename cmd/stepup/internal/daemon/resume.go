package daemon

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent/control"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// Resume is stepup resume.
func Resume(c *cli.Console) *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "be asked again after three prompts were denied or not answered", Long: textResumeLong, Args: cli.Takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := c.Client().Resume(cmd.Context())
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.Out, resumeText(r))
			return err
		},
	}
}

const textResumeLong = `After three prompts in ten minutes that were denied or not answered, a rule
is muted: its requests are refused without a prompt. An accepted second factor
ends that, and so does this command. It works once in ten minutes, and the audit
log says which process ran it: any program of your user can.`

func resumeText(r control.Resumed) string {
	if r.Rules == 0 {
		return "no rule was muted\n"
	}
	return "resumed: " + cli.Counted(r.Rules, "rule") + " may ask again\n"
}
