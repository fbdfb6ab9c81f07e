//go:build unix

package prompt

import (
	"os/exec"
	"syscall"
	"time"
)

// OwnGroup puts the program into a session of its own, and so into a process group.
// The group is asked to end when cmd's context ends, and killed if it does not.
// Without our terminal, a program that wants to read one fails at once instead
// of being stopped as a background job. The caller calls release after cmd.Run.
func OwnGroup(cmd *exec.Cmd) (release func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cancelled := make(chan struct{})
	var hard *time.Timer
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			return err // it has ended and was waited for: the number is not ours any more
		}
		defer close(cancelled)
		pid := cmd.Process.Pid
		hard = time.AfterFunc(KillDelay/2, func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
		// SIGTERM first, so that a script can take down its window.
		return syscall.Kill(-pid, syscall.SIGTERM)
	}
	return func() {
		select {
		case <-cancelled:
			hard.Stop()
			// A member may have ignored the signal. The number cannot be a stranger's: it
			// is not given out again while a member is alive, nor at once after that.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		default:
		}
	}
}
