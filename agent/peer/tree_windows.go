package peer

// holder returns the process that the system named for the connection, and how
// to read others. Here a parent that has ended leaves its number behind; that
// another process with that number started later is what the caller notices.
func holder(id identity) (p process, read func(pid int) (process, error), ok bool) {
	read = reader()
	p, err := read(id.pid)
	return p, read, err == nil && p.start == id.start
}

// reader reads entries of the process table as it is now.
func reader() func(pid int) (process, error) {
	parents := processTable()
	return func(pid int) (process, error) { return readProcess(pid, parents) }
}
