package peer

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// A place is where a process stands among the others.
type place struct {
	process
	session int // number of the leader of its session
	tty     int // number of its controlling terminal, 0 for none
	uid     int
	cgroup  string
}

// sessions finds what processes of a user belong to.
type sessions struct {
	read  func(pid int) (place, error)
	uid   int
	clock string // of this run of the machine
}

// session is the terminal session that p is in or was started from, else its application.
func (s *search) session(p process, uid int) Binding {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Binding{}
	}
	at, err := s.place(p.pid)
	if err != nil || at.start != p.start {
		return Binding{}
	}
	return sessions{s.place, uid, strings.TrimSpace(string(boot))}.of(at)
}

// of returns the terminal of p: its controlling terminal with the leader of its session.
// Without one it is the application: the topmost parent of the same user in the same cgroup,
// since a desktop and systemd give each application and each service a cgroup of its own.
func (s sessions) of(p place) Binding {
	for range treeLimit {
		if p.tty != 0 {
			return s.terminal(p)
		}
		parent, err := s.read(p.parent)
		if p.parent <= 1 || err != nil || !s.within(p, parent) {
			return bindingTo("application", p.process, s.clock)
		}
		p = parent
	}
	return Binding{}
}

// within reports whether a process and its parent are of one application. A younger parent is
// a stranger that was given the number.
func (s sessions) within(p, parent place) bool {
	return parent.uid == s.uid && parent.start <= p.start && parent.cgroup == p.cgroup && p.cgroup != ""
}

// terminal is that of a process which has one. The number of a terminal is given to the next
// one, and so is that of a process: only with the start of the leader is it this session. A
// session whose leader is gone, or is in a PID namespace around ours, cannot be told.
func (s sessions) terminal(p place) Binding {
	leader, err := s.read(p.session)
	if err != nil || leader.session != leader.pid || leader.tty != p.tty || leader.start > p.start {
		return Binding{}
	}
	b := bindingTo("terminal", leader.process, s.clock)
	if b.ID != "" {
		b.ID += fmt.Sprintf(" %d", p.tty)
		b.Name = fmt.Sprintf("terminal %s of %s (pid %d)", ttyName(p.tty), bare(leader.label()), leader.pid)
	}
	return b
}

// place reads the place of a process. The cgroup is "" where it cannot be read.
func (s *search) place(pid int) (place, error) {
	p, err := s.read(pid)
	if err != nil {
		return place{}, err
	}
	var owner syscall.Stat_t
	if err := syscall.Lstat(fmt.Sprintf("/proc/%d", pid), &owner); err != nil {
		return place{}, err
	}
	cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	st, err := readStat(pid) // after the others: all of it is of the same process
	if err != nil || st.start != p.start {
		return place{}, fmt.Errorf("process %d has ended", pid)
	}
	return place{process: p, session: st.session, tty: st.tty, uid: int(owner.Uid), cgroup: string(cgroup)}, nil
}

// ttyName is the device of proc(5)'s tty_nr, without /dev/.
func ttyName(tty int) string {
	major, minor := tty>>8&0xfff, tty&0xff|tty>>12&0xfff00
	switch {
	case major >= 136 && major <= 143: // UNIX98 ptys (Documentation/admin-guide/devices.txt)
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

// program is the executable of p: a file that was replaced or written to, or one of the same
// path in a container, is another. Only root can set the time of a change.
func program(p process) Binding {
	if p.exe == "" {
		return Binding{}
	}
	st, err := status(fmt.Sprintf("/proc/%d/exe", p.pid), 0)
	if err != nil {
		return Binding{}
	}
	// Looked at once more: the file must be that of the same process.
	if again, err := readStat(p.pid); err != nil || again.start != p.start {
		return Binding{}
	}
	id := fmt.Sprintf("program %d:%d:%d %d.%d %s", st.Dev_major, st.Dev_minor, st.Ino, st.Ctime.Sec, st.Ctime.Nsec, p.exe)
	return Binding{ID: id, Name: "program " + p.exe}
}
