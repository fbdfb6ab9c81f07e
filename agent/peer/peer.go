// Package peer describes the process at the other end of a local connection: user,
// executable and the chain of parents, as the kernel sees them.
package peer

import "context"

// A Peer is the process at the other end.
type Peer struct {
	PID   int      `json:"pid"`   // 0 when unknown
	UID   int      `json:"uid"`   // -1 when unknown
	Exe   string   `json:"exe"`   // path of the executable, from the kernel; "" when unknown
	Chain []string `json:"chain"` // base names from the requester itself up to the session; Chain[0] is Exe's

	// Claim is what the process says of itself: its own name and, if that is a
	// plain word, its first argument; of an interpreter the script, of Ansible the plays,
	// and of these and Terraform the folder. Any process can say anything here.
	Claim string `json:"-"`
	// Detached reports that the process has neither a terminal nor a graphical
	// session, and so no person in front of it. False when unknown.
	Detached bool `json:"-"`

	// Session is the terminal session or desktop application that the process belongs to,
	// Program its executable. Both are unknown for a process that cannot be found.
	Session Binding `json:"-"`
	Program Binding `json:"-"`

	// Hidden reports that the kernel lets other processes of the same user look
	// neither at the executable nor at the open files: the executable has
	// capabilities, or the process has switched PR_SET_DUMPABLE off. With a PID the
	// kernel has named the process, Exe is "" and Chain[0] is the name that the
	// process has given itself. With PID 0 it may be any of the user's processes that
	// hide.
	Hidden bool `json:"hidden,omitempty"`
	// Ended reports that the process which connected has ended, and that the connection is
	// another one's, which the kernel does not name. PID is 0 then.
	Ended bool `json:"ended,omitempty"`
	// MayBe holds processes of the user that hide, the latest first, when Hidden and
	// PID is 0. It is a guess: the list is cut, and each name is of the process's
	// own choice.
	MayBe []Candidate `json:"may_be,omitempty"`
}

// A Candidate is a process that a connection may belong to.
type Candidate struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// A Binding is what a permission can be bound to besides its user: a terminal session, a
// desktop application, a program.
type Binding struct {
	// ID is the same for everything that shares the Binding, and for nothing else, also
	// after a restart of this process and of the machine; "" when it cannot be told.
	ID   string
	Name string // for people; "" likewise
}

type contextKey struct{}

// A Lookup finds the peer of one connection: each connection has its own.
type Lookup struct {
	describe func() Peer
	conn     *Conn // nil for a peer that needs no search
}

// NewLookup returns the Lookup of a connection. describe may block for the time of a few
// file reads.
func NewLookup(describe func() Peer) *Lookup { return &Lookup{describe: describe} }

// Begun reports whether the process of a connection has been looked at, or is at this moment.
func (l *Lookup) Begun() bool { return l != nil && l.conn != nil && l.conn.begun() }

// Peer is called only where the peer is shown, not on the hot path: it may block. The peer
// of nil is an unknown one.
func (l *Lookup) Peer() Peer {
	if l == nil {
		return Peer{UID: -1}
	}
	return l.describe()
}

// NewContext returns ctx with a way to find the peer of its connection, as [NewLookup] has it.
func NewContext(ctx context.Context, describe func() Peer) context.Context {
	return context.WithValue(ctx, contextKey{}, NewLookup(describe))
}

// NewContext returns ctx with a way to find the peer of c.
func (c *Conn) NewContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, &Lookup{c.Describe, c})
}

// LookupFrom returns the Lookup of the connection that ctx belongs to, nil where there is
// none.
func LookupFrom(ctx context.Context) *Lookup {
	l, _ := ctx.Value(contextKey{}).(*Lookup)
	return l
}

// FromContext returns the peer of the connection that ctx belongs to, an unknown one
// where there is none.
func FromContext(ctx context.Context) Peer { return LookupFrom(ctx).Peer() }
