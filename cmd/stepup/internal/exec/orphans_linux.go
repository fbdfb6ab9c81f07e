package exec

import "golang.org/x/sys/unix"

// adoptOrphans makes processes ours whose parent has ended, instead of the first
// process's: a private listener knows its own by their parents, and a job that was
// put into the background must stay inside. They are reaped when we end.
func adoptOrphans() {
	// A kernel that refuses has such processes refused by the listener.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}
