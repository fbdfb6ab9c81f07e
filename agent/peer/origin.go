package peer

import (
	"path/filepath"
	"time"

	"github.com/vault-stepup/stepup/ownership"
)

// An Origin says how far the path of an executable can be believed: a program may have any
// name in a folder that its user can write to. The zero value is that only root could put
// the program there, or that there is no path.
type Origin string

const (
	// OriginUser: the file, or a folder above it, can be changed by another user than root.
	OriginUser Origin = "user"
	// OriginReplaced: another file is at the path by now, or none.
	OriginReplaced Origin = "replaced"
	// OriginSandbox: the process has mounts of its own, where any file may be at any path.
	OriginSandbox Origin = "sandbox"
	// OriginEnded: the process that connected has ended, so that there is no path.
	OriginEnded Origin = "ended"
	// OriginUnknown: it cannot be told, also because the process has ended.
	OriginUnknown Origin = "unknown"
)

// Origin looks at the executable of p, which must wait for its answer as for [Conn.Describe].
// It reads the file system: it is for where a person is asked, not for each request. It blocks
// for two seconds at most.
func (p Peer) Origin() Origin { return inTime(p.origin) }

// originLimit is how long the file system of an executable may take to answer.
const originLimit = 2 * time.Second

// inTime is what look finds, or [OriginUnknown] where it does not end: the server of a file system
// may be away, and nothing ends a look at it, which is left behind. The question must not wait.
func inTime(look func() Origin) Origin {
	found := make(chan Origin, 1)
	go func() { found <- look() }()
	limit := time.NewTimer(originLimit)
	defer limit.Stop()
	select {
	case o := <-found:
		return o
	case <-limit.C:
		return OriginUnknown
	}
}

func (p Peer) origin() Origin {
	switch {
	case p.Ended:
		return OriginEnded
	case p.Exe == "":
		return ""
	case p.PID <= 0 || !filepath.IsAbs(p.Exe):
		return OriginUnknown
	case ownership.CheckSystem(p.Exe) != nil:
		// First, and from the top of the path: a file system of the user, which may never
		// answer, is not asked beyond the folder where it begins.
		if !sameMounts(p.PID) {
			return OriginSandbox
		}
		return OriginUser
	}
	return mounted(p)
}
