package dialog

import (
	"context"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/vault-stepup/stepup/prompt"
)

// capabilities returns the script for the one screen. It says by itself when this
// process may not use it (a service).
func capabilities(_ context.Context, c Config, _ prompt.Request) ([]string, []program, error) {
	return prompt.WithoutSecrets(c.Environ()), windowsPrograms(os.Getenv("SystemRoot")), nil
}

// hideConsole keeps PowerShell from opening a console beside its dialog.
func hideConsole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
}
