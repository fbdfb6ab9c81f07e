//go:build !linux

package peer

import (
	"os"
	"strings"
)

// session is the terminal session that p was started from, by its leader, else the topmost
// parent below the desktop. The start of a process is wall clock here.
func session(p process, read processReader) Binding {
	top := p
	for a := range ancestry(p, read, treeLimit) {
		if a.terminal {
			return bindingTo("terminal", a, "")
		}
		// Windows: what a person starts is a child of the desktop.
		if strings.EqualFold(a.label(), "explorer.exe") {
			break
		}
		top = a
	}
	return bindingTo("application", top, "")
}

// program is the executable of p.
func program(p process) Binding {
	info, err := os.Stat(p.exe)
	if p.exe == "" || err != nil {
		return Binding{}
	}
	return Binding{ID: "program " + fileNumber(info) + " " + p.exe, Name: "program " + p.exe}
}
