package peer

// holder returns the process that has the connection open, and how to read
// others. Of several that do, it is the one that started first: the others
// have inherited the connection, and a program is not let in through one that a
// child of it happens to hold.
func holder(id identity) (p process, read func(pid int) (process, error), ok bool) {
	p, ok = find(id)
	return p, readProcess, ok
}

// reader reads entries of the process table.
func reader() func(pid int) (process, error) { return readProcess }
