package peer

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of a walk from a process to its parents.
const (
	chainLimit = 16   // what is shown
	treeLimit  = 1024 // far above what people nest: only a table that does not add up reaches it
)

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
	if name, ok := strings.CutPrefix(p.exe, "/memfd:"); ok { // Linux; there may be slashes in the name
		return "a program in memory called " + name
	}
	if p.exe != "" {
		return filepath.Base(p.exe)
	}
	return p.name
}

// A processReader returns the process of a number.
type processReader func(pid int) (process, error)

// ancestry yields p and its parents, up to the first process of the system, limit of
// them at most.
func ancestry(p process, read processReader, limit int) iter.Seq[process] {
	return func(yield func(process) bool) {
		for yield(p) && p.parent > 1 && limit > 1 {
			parent, err := read(p.parent)
			// A parent that is younger than its child is a stranger that was given the
			// number of a parent that has ended.
			if err != nil || parent.start > p.start {
				return
			}
			p, limit = parent, limit-1
		}
	}
}

// chain returns the names from p up to the program that owns p's terminal (the
// terminal window, sshd, …), or up to the first process of the system.
func chain(p process, read processReader) []string {
	var names []string
	last := false
	for p := range ancestry(p, read, chainLimit) {
		names = append(names, p.label())
		if last {
			break
		}
		last = p.terminal
	}
	return names
}

func lineage(p process, read processReader) []int {
	var line []int
	for p := range ancestry(p, read, treeLimit) {
		line = append(line, p.pid)
	}
	return line
}

// Descends reports whether process pid is root or was started by it, directly or
// through others. False when it cannot be told.
func Descends(pid, root int) bool {
	read := processes()
	p, err := read(pid)
	return err == nil && root > 1 && slices.Contains(lineage(p, read), root)
}

// bindingTo binds to a process, for as long as it runs. clock tells the starts of one run of
// the machine from those of another, where start does not.
func bindingTo(kind string, p process, clock string) Binding {
	if p.start == 0 {
		return Binding{}
	}
	return Binding{
		ID:   fmt.Sprintf("%s %d %d %s", kind, p.pid, p.start, clock),
		Name: fmt.Sprintf("%s %s (pid %d)", kind, bare(p.label()), p.pid),
	}
}

// bare is the name of a process, which may be of its own choice.
func bare(name string) string {
	name = withoutPunctuation(name)
	return name[:min(len(name), maxWord)]
}
