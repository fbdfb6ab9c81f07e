package x11

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
)

// A server is a connection to an X server: https://www.x.org/releases/X11R7.7/doc/xproto/x11protocol.html.
// Anything can listen at a display that a program names: what comes is checked for its length,
// and of one look never more than maxLook of it is kept. (github.com/jezek/xgb believes every length, and
// prints to standard error.)
type server struct {
	conn     net.Conn
	in       *bufio.Reader
	sequence uint16 // of the newest request
	left     int    // bytes that may still come in this look
	base     uint32 // of our own numbers
	mask     uint32 // of the part of a number that its program chose
	roots    []uint32
	resource byte // the requests of the extension X-Resource
}

const (
	maxReply = 1 << 20 // bytes
	maxLook  = 8 << 20 // bytes of all replies; maxWindows take a quarter
	maxBatch = 256     // requests that are sent before their replies are read
)

// Requests of the protocol, and of X-Resource 1.2.
const (
	getWindowAttributes = 3
	queryTree           = 15
	internAtom          = 16
	getProperty         = 20
	queryExtension      = 98

	resourceVersion   = 0
	resourceClientIDs = 4
	localClientPID    = 2
)

var errShort = errors.New("the X server says less than it announces")

// setup opens the conversation.
func (s *server) setup(cookie []byte) error {
	s.in = bufio.NewReader(s.conn)
	name := ""
	if cookie != nil {
		name = cookieName
	}
	hello := []byte{'l', 0, 11, 0, 0, 0, byte(len(name)), 0, byte(len(cookie)), 0, 0, 0}
	hello = append(pad(append(hello, name...)), cookie...)
	if _, err := s.conn.Write(pad(hello)); err != nil {
		return err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(s.in, head); err != nil {
		return err
	}
	body := make([]byte, 4*int(binary.LittleEndian.Uint16(head[6:])))
	if _, err := io.ReadFull(s.in, body); err != nil {
		return err
	}
	if head[0] != 1 {
		return errors.New("the X server refuses us")
	}
	return s.readSetup(body)
}

// readSetup takes the numbers of ours and of the root windows.
func (s *server) readSetup(body []byte) error {
	if len(body) < 32 {
		return errShort
	}
	s.base, s.mask = binary.LittleEndian.Uint32(body[4:]), binary.LittleEndian.Uint32(body[8:])
	vendor, screens, formats := int(binary.LittleEndian.Uint16(body[16:])), int(body[20]), int(body[21])
	rest := cut(body, 32+(vendor+3)&^3+8*formats)
	for range screens {
		if len(rest) < 40 {
			return errShort
		}
		s.roots = append(s.roots, binary.LittleEndian.Uint32(rest))
		depths := int(rest[39])
		rest = rest[40:]
		for range depths {
			if len(rest) < 8 {
				return errShort
			}
			rest = cut(rest, 8+24*int(binary.LittleEndian.Uint16(rest[2:])))
		}
	}
	if s.mask == 0 || s.base&s.mask != 0 || len(s.roots) == 0 {
		return errors.New("the X server gives no numbers away")
	}
	return nil
}

// cut returns b without its first n bytes.
func cut(b []byte, n int) []byte { return b[min(n, len(b)):] }

// pad fills b up to a multiple of four bytes.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// request is one of the protocol, with its second byte and its words.
func request(opcode, data byte, words ...uint32) []byte {
	b := []byte{opcode, data, byte(1 + len(words)), 0}
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// named is a request with a name in it.
func named(opcode, data byte, name string) []byte {
	b := pad(append(request(opcode, data, uint32(len(name))), name...))
	b[2] = byte(len(b) / 4)
	return b
}

// call sends requests, which all have replies, and returns those; nil for one that failed: its
// window has gone.
func (s *server) call(requests ...[]byte) ([][]byte, error) {
	replies := make([][]byte, 0, len(requests))
	for batch := range slices.Chunk(requests, maxBatch) {
		if _, err := s.conn.Write(slices.Concat(batch...)); err != nil {
			return nil, err
		}
		for range batch {
			s.sequence++
			reply, err := s.reply()
			if err != nil {
				return nil, err
			}
			replies = append(replies, reply)
		}
	}
	return replies, nil
}

// reply reads the reply to the request with the number of s.
func (s *server) reply() ([]byte, error) {
	for {
		reply := make([]byte, 32)
		if _, err := io.ReadFull(s.in, reply); err != nil {
			return nil, err
		}
		const failed, replied, generic = 0, 1, 35
		more, kind := 0, reply[0]&0x7f
		if kind == replied || kind == generic {
			more = int(binary.LittleEndian.Uint32(reply[4:]))
		}
		if more > maxReply/4 {
			return nil, fmt.Errorf("a reply of %d words", more)
		}
		// The replies about all windows of a level are there at once.
		if s.left -= len(reply) + 4*more; s.left < 0 {
			return nil, errors.New("the X server says too much")
		}
		reply = append(reply, make([]byte, 4*more)...)
		if _, err := io.ReadFull(s.in, reply[32:]); err != nil {
			return nil, err
		}
		if kind != failed && kind != replied {
			continue // an event, which each client gets: the keyboard has changed
		}
		if binary.LittleEndian.Uint16(reply[2:]) != s.sequence {
			return nil, errors.New("the X server is out of step")
		}
		if kind == failed {
			return nil, nil
		}
		return reply, nil
	}
}

// one is a call of a single request that must not fail.
func (s *server) one(request []byte) ([]byte, error) {
	replies, err := s.call(request)
	if err != nil {
		return nil, err
	}
	if replies[0] == nil {
		return nil, errors.New("the X server refuses a request")
	}
	return replies[0], nil
}

// findResource finds X-Resource, which tells processes since 1.2 (xorg-server 1.12).
func (s *server) findResource() error {
	reply, err := s.one(named(queryExtension, 0, "X-Resource"))
	if err != nil {
		return err
	}
	if reply[8] == 0 {
		return errors.New("the X server has no extension X-Resource")
	}
	s.resource = reply[9]
	version, err := s.one(request(s.resource, resourceVersion, 1|2<<8))
	if err != nil {
		return err
	}
	if major, minor := binary.LittleEndian.Uint16(version[8:]), binary.LittleEndian.Uint16(version[10:]); major != 1 || minor < 2 {
		return fmt.Errorf("the X server has X-Resource %d.%d", major, minor)
	}
	return nil
}

// pids are the processes of all connections that the server knows them of, by the numbers of
// the connections.
func (s *server) pids() (map[uint32]uint32, error) {
	reply, err := s.one(request(s.resource, resourceClientIDs, 1, 0, localClientPID))
	if err != nil {
		return nil, err
	}
	all, rest := make(map[uint32]uint32), reply[32:]
	for range binary.LittleEndian.Uint32(reply[8:]) {
		if len(rest) < 12 {
			return nil, errShort
		}
		base, length := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[8:])
		if rest = rest[12:]; length < 4 || uint64(length) > uint64(len(rest)) {
			return nil, errShort
		}
		all[base] = binary.LittleEndian.Uint32(rest)
		rest = rest[length:]
	}
	return all, nil
}

// atom is the number of a name; 0 where no program has ever used it.
func (s *server) atom(name string) (uint32, error) {
	const onlyIfExists = 1
	reply, err := s.one(named(internAtom, onlyIfExists, name))
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(reply[8:]), nil
}

// children are the windows that are directly in one of these.
func (s *server) children(windows []uint32) (all []uint32, err error) {
	requests := make([][]byte, 0, len(windows))
	for _, w := range windows {
		requests = append(requests, request(queryTree, 0, w))
	}
	replies, err := s.call(requests...)
	for _, reply := range replies {
		if reply == nil {
			continue
		}
		n := int(binary.LittleEndian.Uint16(reply[16:]))
		if len(reply) < 32+4*n {
			return nil, errShort
		}
		for i := range n {
			all = append(all, binary.LittleEndian.Uint32(reply[32+4*i:]))
		}
	}
	return all, err
}

// anyShown reports whether one of the windows was shown to the person, or was handed over to a
// window manager that shows it when it is wanted: it has the property managed then.
func (s *server) anyShown(windows []uint32, managed uint32) (bool, error) {
	var requests [][]byte
	for _, w := range windows {
		requests = append(requests, request(getWindowAttributes, 0, w), request(getProperty, 0, w, managed, 0, 0, 0))
	}
	replies, err := s.call(requests...)
	if err != nil {
		return false, err
	}
	for pair := range slices.Chunk(replies, 2) {
		attributes, state := pair[0], pair[1]
		if attributes == nil {
			continue
		}
		if len(attributes) < 44 {
			return false, errShort
		}
		const inputOnly, unmapped = 2, 0 // the first has no pixels
		if binary.LittleEndian.Uint16(attributes[12:]) == inputOnly {
			continue
		}
		if attributes[26] != unmapped || state != nil && binary.LittleEndian.Uint32(state[8:]) != 0 {
			return true, nil
		}
	}
	return false, nil
}
