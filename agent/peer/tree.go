package peer

import (
	"fmt"
	"slices"
)

// treeLimit bounds the walk to the first process. It is far above what people
// nest, so that only a table that does not add up reaches it.
const treeLimit = 1024

// DescendantOf reports whether the process at the other end is the process pid
// or was started by it, directly or through others, as the kernel's table of
// parents has it. The table is read once for each connection, at the first call,
// which may take some milliseconds. A process whose parent has ended belongs to
// whoever the kernel gave it to.
//
// The error wraps [ErrUnknown] when the process cannot be told: it is gone, or may
// not be looked at. It is not a no, and not a yes either. The caller makes sure
// that pid is alive: the number of a process that has ended may belong to another.
func (c *Conn) DescendantOf(pid int) (bool, error) {
	line, err := c.lineage()
	if err != nil {
		return false, err
	}
	return pid > 1 && slices.Contains(line, pid), nil
}

// lineageOf is the process behind id and its parents up to the first one.
func lineageOf(id identity) ([]int, error) {
	p, read, ok := holder(id)
	if !ok {
		return nil, fmt.Errorf("%w: its process cannot be found", ErrUnknown)
	}
	return climb(p, read), nil
}

// climb lists p and its parents.
func climb(p process, read func(pid int) (process, error)) []int {
	line := []int{p.pid}
	for p.parent > 1 && len(line) < treeLimit {
		parent, err := read(p.parent)
		if err != nil {
			break // has just ended; what is known so far is true
		}
		// A parent that is younger than its child is a stranger that was given
		// the number of a parent that has ended.
		if parent.start > p.start {
			break
		}
		line = append(line, parent.pid)
		p = parent
	}
	return line
}

// Descends reports whether process pid is root or was started by it, directly or
// through others. False when it cannot be told.
func Descends(pid, root int) bool {
	read := reader()
	p, err := read(pid)
	return err == nil && root > 1 && slices.Contains(climb(p, read), root)
}
