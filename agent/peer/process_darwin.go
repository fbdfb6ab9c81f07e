package peer

import (
	"bytes"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func processes() processReader { return readProcess }

// readProcess returns the process of a number. The executable is the path that
// the kernel was given at exec, and left out for other users' processes.
func readProcess(pid int) (process, error) {
	if pid <= 0 {
		return process{}, fmt.Errorf("no process %d", pid)
	}
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if int(k.Proc.P_pid) != pid {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	comm, _, _ := bytes.Cut(k.Proc.P_comm[:], []byte{0})
	const sessionLeader = 0x2 // EPROC_SLEADER of sys/sysctl.h
	return process{
		pid:      pid,
		parent:   int(k.Eproc.Ppid),
		start:    uint64(k.Proc.P_starttime.Sec)*1e6 + uint64(k.Proc.P_starttime.Usec),
		exe:      executable(pid),
		name:     string(comm),
		terminal: k.Eproc.Flag&sessionLeader != 0 && k.Eproc.Tdev != -1,
	}, nil
}

// fileNumber is what tells a file from another one of its path.
func fileNumber(info os.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// executable reads the path in front of a process's arguments: the number of
// arguments in four bytes, then the path with a closing zero byte.
func executable(pid int) string {
	b, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(b) < 4 {
		return ""
	}
	path, _, ok := bytes.Cut(b[4:], []byte{0})
	if !ok {
		return ""
	}
	return string(path)
}
