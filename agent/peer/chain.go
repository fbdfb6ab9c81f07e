package peer

import "path/filepath"

// chainLimit bounds the chain of parents that is shown.
const chainLimit = 16

// A process is one entry of the system's process table.
type process struct {
	pid, parent int
	start       uint64 // in the system's own unit, comparable with each other
	exe         string // path; "" when it may not be read
	hidden      bool   // the kernel refuses to tell exe
	name        string // short name, which the process can change at will
	terminal    bool   // leads a session that has a terminal
	hasTTY      bool   // has a terminal
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

// claim is what a command line says: the program's own name, and the first
// argument if that is a plain word, such as "apply". The rest is left out: people
// pass tokens and passwords there, and what is shown may be looked at by others.
func claim(args []string) string {
	if len(args) == 0 || args[0] == "" {
		return ""
	}
	words := filepath.Base(args[0])
	if len(args) > 1 && plainWord(args[1]) {
		words += " " + args[1]
	}
	return words
}

func plainWord(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '-' {
			return false
		}
	}
	return s != "" && s[0] != '-' && len(s) <= 20
}
