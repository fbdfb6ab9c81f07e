package e2e

import (
	"os/exec"
	"syscall"
)

// nice lets the servers go first: a Vault that answers late would be taken for one
// that asks a phone.
func nice(cmd *exec.Cmd) { _ = syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, 10) }

// tie lets the kernel end the program with the test binary, which go test kills
// without any cleanup when its time is up.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
