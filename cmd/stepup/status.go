package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: textStatus, Long: textStatusLong, Args: takes(0)}
	f := formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := a.client().Status(cmd.Context())
		if err != nil {
			return err
		}
		if *f == formatJSON {
			return writeJSON(a.out, s)
		}
		_, err = io.WriteString(a.out, statusText(s, time.Now()))
		return err
	}
	return cmd
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
