package prompt

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a ctrl-c of the agent's console from the program; its end is
// the default of package exec, the program itself is killed.
func ownGroup(cmd *exec.Cmd) (release func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
	return func() {}
}
