package e2e

import (
	"os/exec"
	"syscall"
)

// tie lets the kernel end the program with the test binary, which go test kills
// without any cleanup when its time is up.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
