package mfa

import (
	"bytes"
	"time"
)

// A Finding is what a Scanner knows so far.
type Finding int

// The findings of a Scanner.
const (
	Undecided Finding = 0 // more bytes are needed
	Ordinary  Finding = 1 // no challenge: hand everything on
	Suspect   Finding = 2 // auth.mfa_requirement begins: read to the end and Parse
)

// A Scanner watches the bytes of a JSON answer go by and says as early as it
// can that it is no challenge, so that ordinary answers need not be held. It
// looks only at the keys of the top object and of auth in it, and never keeps
// more than one key. The zero value is ready.
type Scanner struct {
	finding  Finding
	depth    int
	inString bool
	escaped  bool
	inAuth   bool
	afterKey bool // a key was read at this depth, its value comes
	wantKey  bool // the next string is a key
	key      []byte
}

// A Scanner need not see the whole of an answer.
const (
	// MaxUndecided is read of an answer without knowing whether it is a challenge. In a
	// challenge everything before auth is a few hundred bytes.
	MaxUndecided = 16 << 10
	// MaxPause is how long an undecided answer may pause. A challenge arrives without a
	// pause; what trickles is a stream that the app waits for.
	MaxPause = 250 * time.Millisecond
)

// maxKey is more than the length of any key that matters.
const maxKey = 32

// Scan takes the next bytes and returns the finding. After the first finding
// other than Undecided it stays.
func (s *Scanner) Scan(p []byte) Finding {
	for i := 0; i < len(p) && s.finding == Undecided; i++ {
		if !s.inString {
			s.byte(p[i])
			continue
		}
		if !s.escaped && !s.keeping() {
			i += passOver(p[i:])
			if i == len(p) {
				break
			}
		}
		s.stringByte(p[i])
	}
	return s.finding
}

// passOver is the number of bytes before the next one that matters in a string:
// most of a large answer is passed over by it.
func passOver(p []byte) int {
	if end := bytes.IndexByte(p, '"'); end >= 0 {
		p = p[:end]
	}
	if escape := bytes.IndexByte(p, '\\'); escape >= 0 {
		return escape
	}
	return len(p)
}

// keeping reports whether the bytes of this string are a key that is read.
func (s *Scanner) keeping() bool { return s.wantKey && s.watching() && len(s.key) <= maxKey }

func (s *Scanner) stringByte(b byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case b == '\\':
		s.escaped = true
	case b == '"':
		s.inString = false
		return
	}
	if s.keeping() {
		s.key = append(s.key, b)
	}
}

// watching reports whether keys at this depth matter.
func (s *Scanner) watching() bool { return s.depth == 1 || (s.depth == 2 && s.inAuth) }

func (s *Scanner) byte(b byte) {
	switch b {
	case ' ', '\t', '\r', '\n':
		return
	}
	if s.depth == 0 && b != '{' {
		s.finding = Ordinary
		return
	}
	if s.afterKey && b != ':' {
		s.value(b)
		if s.finding != Undecided {
			return
		}
	}
	switch b {
	case '"':
		s.inString = true
		if s.watching() && s.wantKey {
			s.key = s.key[:0]
		}
	case ':':
		s.wantKey, s.afterKey = false, s.watching()
	case ',':
		s.wantKey = s.watching()
	case '{':
		s.depth++
		s.wantKey = s.watching()
	case '[':
		s.depth++
	case '}', ']':
		s.closed()
	}
}

// value sees the first byte of the value that belongs to key.
func (s *Scanner) value(b byte) {
	s.afterKey = false
	switch {
	case s.depth == 1 && string(s.key) == "auth":
		if b != '{' {
			s.finding = Ordinary
		}
		s.inAuth = true
	case s.depth == 2 && s.inAuth && string(s.key) == "mfa_requirement":
		s.finding = Ordinary
		if b == '{' {
			s.finding = Suspect
		}
	}
}

// closed sees the end of an object or array: an answer or an auth that ends without a
// requirement is ordinary.
func (s *Scanner) closed() {
	s.depth--
	if s.depth <= 0 || (s.depth == 1 && s.inAuth) {
		s.finding = Ordinary
	}
	s.wantKey = false
}
