package express

import (
	"bytes"
	"strings"
)

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

// parseLength reads a Content-Length of digits, of at most nine: a longer body is not for
// us.
func parseLength(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
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
