//go:build !linux

package peer

import "net/netip"

// A search reads processes for some connections. The system has named theirs.
type search struct{ read processReader }

func newSearch() *search { return &search{read: processes()} }

func (s *search) find([]identity) {}

// describe reads the process behind id, which has the connection; pid 0 for none.
func (s *search) describe(id identity, proc process) Peer {
	p := Peer{UID: id.uid, Ended: proc.pid == 0 && id.pid != 0}
	if proc.pid != 0 {
		p.PID, p.Exe, p.Chain = proc.pid, proc.exe, chain(proc, s.read)
		p.Session, p.Program = session(proc, s.read), program(proc)
	}
	return p
}

// holder returns the process that the system named for the connection; pid 0 for none.
func (s *search) holder(id identity, _ process) process {
	if p, err := s.read(id.pid); err == nil && p.start == id.start {
		return p
	}
	return process{}
}

// HidesProcess reports whether a process that runs a file hides. Here none does.
func HidesProcess(string) bool { return false }

// Environ returns the environment of a process that hides. Here it never can.
func Environ(int) []string { return nil }

// StartedWith returns the processes of an environment. Here it never can.
func StartedWith(string) []Candidate { return nil }

// Listener returns the process that listens at a TCP address. Here it never can: UID is -1.
func Listener(netip.AddrPort) Peer { return Peer{UID: -1} }
