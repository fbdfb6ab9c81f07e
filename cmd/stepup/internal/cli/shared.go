package cli

import (
	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/config/paths"
)

// A SharedConfig is the configuration for all users of the machine. The zero value is none.
type SharedConfig struct {
	Path  string
	Admin int // the user that it belongs to, if not to root
}

// MachineConfig is the one of this machine, which need not be there.
func MachineConfig() SharedConfig { return SharedConfig{Path: paths.SharedPath()} }

// SharedFlag gives cmd the flag --shared. It is for commands that only look at files: the agent has
// none, so that what the shared file locks is locked for it.
func SharedFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("shared", "", "the file for all users, instead of the one of this machine; none for no such file")
}
