package peer

// holder returns the process that the kernel named for the connection, and how
// to read others.
func holder(id identity) (p process, read func(pid int) (process, error), ok bool) {
	p, err := readProcess(id.pid)
	return p, readProcess, err == nil && p.start == id.start
}

// reader reads entries of the process table.
func reader() func(pid int) (process, error) { return readProcess }
