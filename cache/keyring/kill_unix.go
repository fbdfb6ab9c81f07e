//go:build unix

package keyring

import (
	"os/exec"
	"syscall"
)

// killWithChildren makes the end of the context kill cmd and what it started:
// on macOS the call hangs in a security(1) below it.
func killWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
