package prompt

import (
	"os/exec"
	"syscall"
)

// OwnGroup keeps a ctrl-c of the agent's console from the program. At the end of
// cmd's context the program itself is killed, which is the default of package exec. Other
// creation flags of cmd stay.
func OwnGroup(cmd *exec.Cmd) (release func()) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.CreationFlags |= syscall.CREATE_NEW_PROCESS_GROUP
	return func() {}
}
