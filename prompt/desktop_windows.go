package prompt

import (
	"context"
	"os"
	"os/exec"

	"golang.org/x/sys/windows"
)

// surface: there is one screen, and the script says by itself when this process
// may not use it (a service).
func (d *Desktop) surface(context.Context, Request) ([]string, []dialog, error) {
	return withoutSecrets(d.config.Environ()), windowsDialogs(os.Getenv("SystemRoot")), nil
}

// ownWindow keeps PowerShell from opening a console beside its dialog.
func ownWindow(cmd *exec.Cmd) (release func()) {
	release = ownGroup(cmd)
	cmd.SysProcAttr.CreationFlags |= windows.CREATE_NO_WINDOW
	return release
}
