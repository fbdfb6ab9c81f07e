package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Errors of [Conn.SameUser]. Each of them means: do not serve this connection.
var (
	// ErrOtherUser: the other end belongs to another user of this machine.
	ErrOtherUser = errors.New("connection of another user")
	// ErrUnknown: the kernel does not name the process or the user at the other end, or
	// the other end is already gone.
	ErrUnknown = errors.New("owner of the connection is unknown")
	// ErrUnsupported: this system cannot tell for this kind of connection.
	ErrUnsupported = errors.New("this system does not tell who connects")
)

// errAbsent: the kernel's table has no such socket at this moment. A table that
// is read while it changes may miss a row, so it is worth another look.
var errAbsent = errors.New("no such socket in the kernel's table")

// errGone: our end is not open in both directions any more.
var errGone = fmt.Errorf("%w: closed by the client", ErrUnknown)

// lookups is how often the kernel is asked about one connection before it is
// refused as unknown.
const lookups = 4

// An identity is what the kernel says about the other end at one moment.
type identity struct {
	uid   int    // -1 when unknown
	pid   int    // 0 when only a search by inode can tell
	start uint64 // start of process pid, in the system's own unit; 0 when unknown
	ended bool   // pid is 0, because the process that connected is gone
	inode uint32 // the client's own TCP socket; Linux only
	// open reports whether the client still has the connection; nil is a yes.
	open func() bool
}

func unidentified() identity { return identity{uid: -1} }

// A Conn is an accepted connection together with what the kernel says about its
// other end. It is safe for concurrent use.
type Conn struct {
	local, remote net.Addr
	resolvePeer   func() (identity, error)
	lineage       func() ([]int, error)

	mu   sync.Mutex // held while processes are looked at
	held process    // the one that had the connection when it was searched; pid 0 for none
	peer *Peer      // nil before it is described
}

// Identify asks the kernel once, without waiting, for the other end of c.
// Call it right after Accept and before anything is read: the earlier the
// question, the less a client that sends and leaves can hide. What that first
// look leaves open is asked again by [Conn.SameUser], not here, so that a client
// cannot hold up an accept loop. c is not read, written, closed or wrapped, and
// stays the caller's.
func Identify(c net.Conn) *Conn {
	id, err := lookup(c, 0)
	resolvePeer := sync.OnceValues(func() (identity, error) {
		for n := 1; n < lookups && errors.Is(err, errAbsent); n++ {
			time.Sleep(time.Millisecond << n)
			id, err = lookup(c, n)
		}
		if errors.Is(err, errAbsent) {
			err = fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return id, err
	})
	found := &Conn{local: c.LocalAddr(), remote: c.RemoteAddr(), resolvePeer: resolvePeer}
	found.lineage = sync.OnceValues(found.readLineage)
	return found
}

// SameUser returns nil if the other end belongs to the user that this process
// runs as, and otherwise an error wrapping [ErrOtherUser], [ErrUnknown] or
// [ErrUnsupported]. Root is another user like any other. The answer is found
// once and kept; the first call may block for some milliseconds.
func (c *Conn) SameUser() error {
	_, err := c.resolvePeer()
	return err
}

// Describe returns the process at the other end, for people to read. The user is the
// one of the accept; process, executable and parents are read at the first
// call, which may take some milliseconds, and kept. They are right as long as
// the client has the connection open (it waits for its answer while a person is
// asked); a process that is gone by then, or whose number was given to another
// one, is left out instead of guessed. A process can choose its own name: this
// is a help for the person, no proof.
func (c *Conn) Describe() Peer { return c.describe(newSearch()) }

func (c *Conn) describe(s *search) Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer != nil {
		return *c.peer
	}
	id, err := c.resolvePeer()
	p := Peer{UID: id.uid, PID: id.pid}
	if err == nil { // else, another user could order a search through all of /proc with each connection
		p = s.describe(id, c.holderLocked(s, id))
	}
	c.peer = &p
	return p
}

// holderLocked finds the process that has the connection. It is searched once, and then looked
// at again.
func (c *Conn) holderLocked(s *search, id identity) process {
	c.held = s.holder(id, c.held)
	return c.held
}

func (c *Conn) readLineage() ([]int, error) {
	id, err := c.resolvePeer()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := newSearch()
	p := c.holderLocked(s, id)
	if p.pid == 0 {
		return nil, fmt.Errorf("%w: its process cannot be found", ErrUnknown)
	}
	return lineage(p, s.read), nil
}

// begun reports whether the process has been looked at, or is at this moment.
func (c *Conn) begun() bool {
	if !c.mu.TryLock() {
		return true
	}
	defer c.mu.Unlock()
	return c.peer != nil
}

// DescribeAll describes the peers of many connections, with one search through the processes
// for all of them. After that, their [Lookup.Peer] does not block.
func DescribeAll(all []*Lookup) {
	s := newSearch()
	var conns []*Conn
	var ids []identity
	for _, l := range all {
		if l == nil || l.conn == nil || l.conn.begun() {
			continue
		}
		// The lock keeps others from searching for the same process; it is not held for longer
		// than the search.
		if id, err := l.conn.resolvePeer(); err == nil && l.conn.mu.TryLock() {
			conns, ids = append(conns, l.conn), append(ids, id)
		}
	}
	s.find(ids)
	for i, c := range conns {
		c.holderLocked(s, ids[i])
		c.mu.Unlock()
	}
	for _, c := range conns {
		c.describe(s)
	}
}

// UID is the user at the other end, -1 when unknown and on Windows. It may block
// like [Conn.SameUser].
func (c *Conn) UID() int {
	id, _ := c.resolvePeer()
	return id.uid
}

// LocalAddr is the accepting end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the client's end; it has no name for most unix sockets.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Self reports whether this very process is at the other end. On TCP it reads
// the process table at the first call.
func (c *Conn) Self() bool { return c.Describe().PID == os.Getpid() }

// DescendantOf reports whether the process at the other end is the process pid
// or was started by it, directly or through others, as the kernel's table of
// parents has it. The table is read once for each connection, at the first call,
// which may take some milliseconds. A process whose parent has ended belongs to
// the one that the kernel gave it to.
//
// The error wraps [ErrUnknown] when the process cannot be told: it is gone, or may
// not be looked at. It is not a no, and not a yes either. The caller makes sure
// that pid is alive: the number of a process that has ended may belong to another.
func (c *Conn) DescendantOf(pid int) (bool, error) {
	line, err := c.lineage()
	if err != nil {
		return false, err
	}
	return pid > 1 && slices.Contains(line, pid), nil
}

// CheckTCP connects to itself over loopback and returns nil if this system
// recognises the connection as our own, or why TCP clients would be refused.
// It is for a status page and takes some milliseconds.
func CheckTCP() error {
	fail := func(err error) error { return fmt.Errorf("checking TCP clients: %w", err) }
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fail(err)
	}
	defer ln.Close()
	client, err := net.DialTimeout("tcp4", ln.Addr().String(), time.Second)
	if err != nil {
		return fail(err)
	}
	defer client.Close()
	_ = ln.SetDeadline(time.Now().Add(time.Second))
	for {
		c, err := ln.Accept()
		if err != nil {
			return fail(err)
		}
		// Another program may connect to the port as well; only ours counts.
		ours := c.RemoteAddr().String() == client.LocalAddr().String()
		if ours {
			err = Identify(c).SameUser()
		}
		_ = c.Close()
		if ours {
			return err
		}
	}
}

// lookup asks the system for the other end of c. The first attempt is cheap; later
// ones may also read slower tables. Its error may wrap errAbsent.
func lookup(c net.Conn, attempt int) (identity, error) {
	switch c.LocalAddr().(type) {
	case *net.UnixAddr:
		return lookupUnix(c)
	case *net.TCPAddr:
		// Seen from the client.
		e := ends{local: addrPort(c.RemoteAddr()), remote: addrPort(c.LocalAddr())}
		if !e.local.IsValid() || !e.remote.IsValid() {
			return unidentified(), fmt.Errorf("%w: no address", ErrUnknown)
		}
		return lookupTCP(c, e, attempt)
	}
	return unidentified(), fmt.Errorf("%w: %s", ErrUnsupported, c.LocalAddr().Network())
}

// ends are the addresses of one TCP socket, IPv4 never in the form of IPv6.
type ends struct{ local, remote netip.AddrPort }

// addrPort returns a's address, an IPv4 one always as such.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// control calls do with the descriptor of c. The error wraps ErrUnsupported or
// ErrUnknown.
func control(c net.Conn, do func(fd uintptr) error) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return fmt.Errorf("%w: connection of type %T", ErrUnsupported, c)
	}
	raw, err := sc.SyscallConn()
	if err == nil {
		var doErr error
		err = raw.Control(func(fd uintptr) { doErr = do(fd) })
		err = errors.Join(err, doErr)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}
