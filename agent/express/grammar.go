package express

import (
	"bytes"
	"strings"
)

const (
	// maxHead is the longest head that is taken.
	maxHead = 16 << 10
	// maxLines is the largest number of lines in a head.
	maxLines = 100
)

// A finding is what a parser makes of the bytes so far.
type finding int

const (
	incomplete finding = iota // more bytes are needed
	plain                     // exactly in the grammar, and nothing special
	other                     // anything else: for the server behind
)

// A span is a part of a head.
type span struct{ from, to int }

// A lineUse is what becomes of a line.
type lineUse int

const (
	kept    lineUse = iota // goes on
	dropped                // holds for one connection
	secret                 // goes on, and has the token of the caller
)

// A head takes the lines of a head in turn, and returns false at one that is not plain.
type head interface {
	parseFirst(line []byte) bool
	parseLine(name, value []byte, at span) bool
}

// parseHead reads the head at the beginning of b, which has length bytes. What it calls
// plain can be read in one way only (RFC 9112): no folded line, no bare CR or LF, no blank
// before a colon.
func parseHead(b []byte, h head) (length int, f finding) {
	end := bytes.Index(b[:min(len(b), maxHead)], []byte("\r\n\r\n"))
	switch {
	case end < 0 && len(b) >= maxHead:
		return 0, other
	case end < 0:
		return 0, incomplete
	}
	first := bytes.IndexByte(b, '\n')
	if first < 1 || b[first-1] != '\r' || !h.parseFirst(b[:first-1]) {
		return 0, other
	}
	for at, n := first+1, 0; at < end+2; n++ {
		next := at + bytes.IndexByte(b[at:end+2], '\n') + 1
		name, value, ok := cutLine(b[at:next])
		if !ok || n == maxLines || !h.parseLine(name, value, span{at, next}) {
			return 0, other
		}
		at = next
	}
	return end + 4, plain
}

// cutLine splits a line of a head with its end: a name, a colon at once, and a value of
// printable characters (RFC 9110, 5.5; without those beyond ASCII).
func cutLine(line []byte) (name, value []byte, ok bool) {
	end := len(line) - len("\r\n")
	colon := bytes.IndexByte(line, ':')
	if end < 0 || line[end] != '\r' || colon <= 0 {
		return nil, nil, false
	}
	name, value = line[:colon], line[colon+1:end]
	for _, c := range name {
		if !isToken(c) {
			return nil, nil, false
		}
	}
	for _, c := range value {
		if (c < ' ' || c > '~') && c != '\t' {
			return nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), true
}

// parseDigits reads a number of digits alone, of most of them at the most.
func parseDigits(b []byte, most int) (n int64, ok bool) {
	if len(b) == 0 || len(b) > most {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

func isHex(c byte) bool {
	_, ok := hexValue(c)
	return ok
}

func hexValue(c byte) (int, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0'), true
	case 'a' <= lower(c) && lower(c) <= 'f':
		return int(lower(c)-'a') + 10, true
	}
	return 0, false
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'z'
}

// isToken reports whether c may be in the name of a header (RFC 9110, 5.6.2).
func isToken(c byte) bool {
	return isAlphanumeric(c) || c == '-' || strings.IndexByte("!#$%&'*+.^_`|~", c) >= 0
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// is reports whether b is want, which is in small letters.
func is(b []byte, want string) bool { return len(b) == len(want) && hasPrefix(b, want) }

func hasPrefix(b []byte, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(b[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// plainHost reports whether net/http takes a host, and would send it as it stands: no
// blank, no name in another alphabet, no zone.
func plainHost(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("-._:[]", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}
