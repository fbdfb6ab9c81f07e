package peer

import "path/filepath"

// chainLimit bounds the chain of parents that is shown.
const chainLimit = 16

// A process is one entry of the system's process table.
type process struct {
	pid, parent int
	start       uint64 // in the system's own unit, comparable with each other
	exe         string // path; "" when it may not be read
	name        string // short name, which the process can change at will
	terminal    bool   // leads a session that has a terminal
}

// label is the name to show.
func (p process) label() string {
	if p.exe != "" {
		return filepath.Base(p.exe)
	}
	return p.name
}

// chain returns the names from p up to the program that owns p's terminal (the
// terminal window, sshd, …), or up to the first process of the system. read
// returns the process of a number.
func chain(p process, read func(pid int) (process, error)) []string {
	names := []string{p.label()}
	for last := false; !last && len(names) < chainLimit && p.parent > 1; {
		last = p.terminal
		parent, err := read(p.parent)
		// A parent that is younger than its child is a stranger that was given
		// the number of a parent that has ended.
		if err != nil || parent.start > p.start {
			break
		}
		names = append(names, parent.label())
		p = parent
	}
	return names
}
