package peer

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// maxCandidates bounds the guess at which process a connection belongs to: a
// question must stay readable.
const maxCandidates = 5

// hiding completes p, the peer of a connection for which no process was found. A
// search by inode reads /proc/PID/fd, which the kernel gives to root for a process
// that is not dumpable. So the search misses exactly the processes that hide, and
// these remain possible. A connection that has ended in the meantime has no process.
func hiding(p Peer, id identity) Peer {
	if id.inode == 0 || id.open != nil && !id.open() {
		return p
	}
	p.Hidden = true
	p.MayBe = candidates(id.uid)
	return p
}

// candidates lists processes of uid whose open files may not be read, the latest
// first: a client has been started for what it asks, and agents and daemons, which
// hide as well, have been running since the login.
func candidates(uid int) []Candidate {
	type found struct {
		Candidate
		start uint64
	}
	var all []found
	for _, pid := range pids() {
		if !belongsTo(pid, uid) || !closed(pid) {
			continue
		}
		if st, err := readStat(pid); err == nil {
			all = append(all, found{Candidate{PID: pid, Name: st.name}, st.start})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.start, a.start), cmp.Compare(b.PID, a.PID))
	})
	var list []Candidate
	for _, f := range all[:min(len(all), maxCandidates)] {
		list = append(list, f.Candidate)
	}
	return list
}

// closed reports whether the kernel refuses to list the open files of process pid.
func closed(pid int) bool {
	fds, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return errors.Is(err, fs.ErrPermission)
	}
	_ = fds.Close()
	return false
}
