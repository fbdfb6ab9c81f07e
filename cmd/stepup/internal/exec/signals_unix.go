//go:build unix

package exec

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/prompt/terminal"
)

// caughtSignals are those that would end us before the command. TSTP and CONT
// stop and continue us together with it; WINCH is the terminal's to send.
func caughtSignals() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

// typed reports whether the command has got the signal by itself, because it was
// typed: the terminal sends it to the whole job. Sent once more, a program that
// ends at the second ctrl-c would not clean up at the first.
func typed(s os.Signal) bool {
	return (s == syscall.SIGINT || s == syscall.SIGQUIT) && terminal.Foreground()
}

// ignoreBackground lets us write to the terminal, and take its foreground for a
// prompt, while another job has it.
func ignoreBackground() { signal.Ignore(syscall.SIGTTOU) }

// exitCode is what a shell makes of the end of a command.
func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return exitSignal + int(w.Signal())
	}
	return s.ExitCode()
}

func (i interrupted) code() int {
	if s, ok := i.Signal.(syscall.Signal); ok {
		return exitSignal + int(s)
	}
	return cli.ExitFailed
}
