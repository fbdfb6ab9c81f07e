package exec

import (
	"os"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
)

// caughtSignals: ctrl-c and ctrl-break reach every process of the console.
func caughtSignals() []os.Signal { return []os.Signal{os.Interrupt} }

func typed(os.Signal) bool { return true }

func ignoreBackground() {}

func exitCode(s *os.ProcessState) int { return s.ExitCode() }

// code is that of STATUS_CONTROL_C_EXIT as a shell shows it.
func (i interrupted) code() int { return cli.ExitFailed }
