//go:build !linux

package peer

import "net/netip"

// describe reads the process behind id.
func describe(id identity) Peer {
	p := Peer{UID: id.uid}
	if proc, read, ok := holder(id); ok {
		p.PID, p.Exe, p.Chain = proc.pid, proc.exe, chain(proc, read)
		p.Session, p.Program = session(proc, read), program(proc)
	} else {
		p.Ended = id.pid != 0
	}
	return p
}

// holder returns the process that the system named for the connection, and how to read
// others.
func holder(id identity) (p process, read processReader, ok bool) {
	read = processes()
	p, err := read(id.pid)
	return p, read, err == nil && p.start == id.start
}

// Environ returns the environment of a process that hides. Here it never can.
func Environ(int) []string { return nil }

// StartedWith returns the processes of an environment. Here it never can.
func StartedWith(string) []Candidate { return nil }

// Listener returns the process that listens at a TCP address. Here it never can: UID is -1.
func Listener(netip.AddrPort) Peer { return Peer{UID: -1} }
