package peer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A search finds and reads processes for some connections, each of them once. It is used for a
// moment, and by one goroutine.
type search struct {
	processes map[int]process
	found     map[uint32]process // by socket; pid 0 for one that none was found for
	peers     map[int]Peer       // without the user
	hidden    *[]Candidate
}

func newSearch() *search {
	return &search{processes: map[int]process{}, found: map[uint32]process{}, peers: map[int]Peer{}}
}

// read returns the process of a number.
func (s *search) read(pid int) (process, error) {
	if p, ok := s.processes[pid]; ok {
		return p, nil
	}
	p, err := readProcess(pid)
	if err == nil {
		s.processes[pid] = p
	}
	return p, err
}

// describe reads the process behind id, which has the connection; pid 0 for none.
func (s *search) describe(id identity, proc process) Peer {
	if proc.pid == 0 {
		return s.hiding(Peer{UID: id.uid, Ended: id.ended || id.pid != 0}, id)
	}
	p, ok := s.peers[proc.pid]
	if !ok {
		p = Peer{PID: proc.pid, Exe: proc.exe, Hidden: proc.hidden, Chain: chain(proc, s.read)}
		p.Session, p.Program = s.session(proc, id.uid), program(proc)
		command, _ := readList(proc.pid, "cmdline")
		folder, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", proc.pid))
		p.Claim = claim(command, folder)
		p.Detached = !proc.hasTTY && !graphical(environment(proc, id.uid))
		s.peers[proc.pid] = p
	}
	p.UID = id.uid
	return p
}

// readList reads a file of /proc/PID that is a list of strings which end in NUL.
func readList(pid int, name string) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00"), nil
}

// Environ returns the environment in which process pid of our user was started, as
// far as it can be told: see environment. It is for finding a screen, no proof.
func Environ(pid int) []string {
	p, err := readProcess(pid)
	if err != nil || !belongsTo(pid, os.Geteuid()) {
		return nil
	}
	return environment(p, os.Geteuid())
}

// StartedWith returns the processes of our user whose environment has this entry, NAME=value:
// those that a command has left behind. Processes that hide are left out.
func StartedWith(entry string) []Candidate {
	var all []Candidate
	for _, pid := range pids() {
		if !belongsTo(pid, os.Geteuid()) {
			continue
		}
		list, err := readList(pid, "environ")
		if err != nil || !slices.Contains(list, entry) {
			continue
		}
		if st, err := readStat(pid); err == nil {
			all = append(all, Candidate{PID: pid, Name: st.name})
		}
	}
	return all
}

// environment returns what p was started with. For a process that hides it is that
// of its nearest parent of the same user that does not: an environment is
// inherited, and few programs start another one on another display.
func environment(p process, uid int) []string {
	for range chainLimit {
		list, err := readList(p.pid, "environ")
		if err == nil || !errors.Is(err, fs.ErrPermission) {
			return list
		}
		parent, err := readProcess(p.parent)
		if err != nil || parent.start > p.start || !belongsTo(parent.pid, uid) {
			return nil
		}
		p = parent
	}
	return nil
}

// belongsTo reports whether process pid runs as uid. The kernel gives the folder
// of a process to its user, also when it gives what is inside to root.
func belongsTo(pid, uid int) bool {
	var st syscall.Stat_t
	return syscall.Lstat("/proc/"+strconv.Itoa(pid), &st) == nil && int(st.Uid) == uid
}

// graphical reports whether an environment names a display.
func graphical(environ []string) bool {
	return slices.ContainsFunc(environ, func(v string) bool {
		return strings.HasPrefix(v, "DISPLAY=") && v != "DISPLAY=" ||
			strings.HasPrefix(v, "WAYLAND_DISPLAY=") && v != "WAYLAND_DISPLAY="
	})
}

// holder returns the process that has the connection open; pid 0 where none is found. Of several
// that do, it is the one that started first: the others have inherited the connection, and a
// program is not let in through one that a child of it happens to hold. last is the one that was
// found before.
func (s *search) holder(id identity, last process) process {
	if id.inode == 0 {
		if p, err := s.read(id.pid); err == nil && id.pid != 0 && p.start == id.start {
			return p
		}
		return process{}
	}
	if p, searched := s.found[id.inode]; searched {
		return p
	}
	s.found[id.inode] = process{}
	if last.pid != 0 {
		s.look(last.pid)
		if p := s.found[id.inode]; p.pid != 0 && p.start == last.start {
			return p
		}
	}
	s.find([]identity{id})
	return s.found[id.inode]
}

func processes() processReader { return readProcess }

// find searches the processes of a user for those that have the sockets of ids open: one walk for
// all of them. The search itself is the guard against reused process numbers, since what it finds
// has the socket open now.
func (s *search) find(ids []identity) {
	uid, none := 0, true
	for _, id := range ids {
		if id.inode != 0 {
			s.found[id.inode] = process{}
			uid, none = id.uid, false
		}
	}
	if none {
		return
	}
	for _, pid := range pids() {
		if belongsTo(pid, uid) {
			s.look(pid)
		}
	}
}

// look notes which of the sockets process pid has open, where no older process has.
func (s *search) look(pid int) {
	before := s.sockets(pid)
	if len(before) == 0 {
		return
	}
	p, err := readProcess(pid)
	if err != nil {
		return
	}
	s.processes[pid] = p
	for inode := range s.sockets(pid) {
		if best := s.found[inode]; before[inode] && (best.pid == 0 || p.start < best.start) {
			s.found[inode] = p
		}
	}
}

// sockets returns those of the sockets that are among the open files of process pid. A browser has
// hundreds of them, so these are bare system calls: package os would cost twice the time.
func (s *search) sockets(pid int) (open map[uint32]bool) {
	dir, err := retried(func() (int, error) {
		return unix.Open("/proc/"+strconv.Itoa(pid)+"/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	var entries [8 << 10]byte
	var link [64]byte // longer ones are of files
	var names []string
	for {
		n, err := retried(func() (int, error) { return unix.ReadDirent(dir, entries[:]) })
		if n <= 0 || err != nil {
			return open
		}
		_, _, names = unix.ParseDirent(entries[:n], -1, names[:0])
		for _, name := range names {
			n, err := retried(func() (int, error) { return unix.Readlinkat(dir, name, link[:]) })
			if err != nil {
				continue
			}
			inode, ok := socketOf(link[:n])
			if _, wanted := s.found[inode]; !ok || !wanted {
				continue
			}
			if open == nil {
				open = map[uint32]bool{}
			}
			if open[inode] = true; len(open) == len(s.found) {
				return open
			}
		}
	}
}

// socketOf reads "socket:[7]".
func socketOf(link []byte) (inode uint32, ok bool) {
	number, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok || !bytes.HasSuffix(number, []byte("]")) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(number[:len(number)-1]), 10, 32)
	return uint32(n), err == nil
}

// retried calls f until no signal interrupts it.
func retried(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}

func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var ids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			ids = append(ids, pid)
		}
	}
	return ids
}

// readProcess returns the process of a number. Its executable is left out if it
// may not be read, as for other users' processes.
func readProcess(pid int) (process, error) {
	st, err := readStat(pid)
	if err != nil {
		return process{}, err
	}
	exe, exeErr := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	// Read twice: the executable must be that of the same process.
	if again, err := readStat(pid); err != nil || again.start != st.start {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return process{
		pid: pid, parent: st.parent, start: st.start, name: st.name,
		exe:      strings.TrimSuffix(exe, " (deleted)"), // replaced by an upgrade
		hidden:   errors.Is(exeErr, fs.ErrPermission),
		terminal: st.session == pid && st.tty != 0,
		hasTTY:   st.tty != 0,
	}, nil
}

// A stat is what is needed of /proc/PID/stat.
type stat struct {
	name    string
	parent  int
	session int
	tty     int
	start   uint64 // clock ticks since boot
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

var errStat = errors.New("not a process stat line")

// parseStat reads a line of proc(5) stat. A process chooses its own name, which
// may hold spaces, parentheses and line feeds: the name ends at the last closing
// parenthesis, since only numbers follow it.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, errStat
	}
	// From field 3 on: state ppid pgrp session tty … (field 22) starttime
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return stat{}, errStat
	}
	parent, err1 := strconv.Atoi(f[1])
	session, err2 := strconv.Atoi(f[3])
	tty, err3 := strconv.Atoi(f[4])
	start, err4 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return stat{}, fmt.Errorf("%w: %w", errStat, err)
	}
	return stat{name: string(b[open+1 : end]), parent: parent, session: session, tty: tty, start: start}, nil
}

// maxCandidates bounds the guess at which process a connection belongs to: a
// question must stay readable.
const maxCandidates = 5

// hiding completes p, the peer of a connection for which no process was found. A
// search by inode reads /proc/PID/fd, which the kernel gives to root for a process
// that is not dumpable. So the search misses exactly the processes that hide, and
// these remain possible. A connection that has ended in the meantime has no process.
func (s *search) hiding(p Peer, id identity) Peer {
	if id.inode == 0 || id.open != nil && !id.open() {
		return p
	}
	if s.hidden == nil {
		all := candidates(id.uid)
		s.hidden = &all
	}
	p.Hidden, p.MayBe = true, *s.hidden
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

// HidesProcess reports whether a process that runs the file of a program hides, see
// [Peer.Hidden]: the file has capabilities, or we may run it and not read it. The kernel leaves
// capabilities out where no_new_privs or nosuid say so, so this is for advice.
func HidesProcess(file string) bool {
	n, err := unix.Getxattr(file, "security.capability", nil)
	return err == nil && n > 0 || unix.Access(file, unix.X_OK) == nil && unix.Access(file, unix.R_OK) != nil
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
