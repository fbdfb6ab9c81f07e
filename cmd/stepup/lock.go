package main

import (
	"io"

	"github.com/spf13/cobra"
)

func (a *app) lockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lock", Short: textLock, Long: textLockLong, Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.client().Lock(cmd.Context())
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.out, lockText(r))
			return err
		},
	}
}
