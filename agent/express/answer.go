package express

import (
	"bytes"
	"net/http"
)

// An answerHead is the head of an answer of Vault, in the bytes that it was parsed from.
type answerHead struct {
	status  int
	length  int // of the head
	framing framing
	json    bool // may hold a challenge
	close   bool // the connection is not used again
	drop    []span
	seen    answerLines
}

// parse reads the head at the beginning of b. What it calls plain is an answer that is
// handed on as it is, but for what holds for one connection only. A redirect, a 403, an
// interim answer and what has no length are not plain.
func (h *answerHead) parse(b []byte) (f finding) {
	*h = answerHead{drop: h.drop[:0], framing: framing{left: -1}}
	if h.length, f = parseHead(b, h); f != plain {
		return f
	}
	return h.framed()
}

// parseLine implements head.
func (h *answerHead) parseLine(name, value []byte, at span) bool {
	use, ok := h.read(name, value)
	if use == dropped {
		h.drop = append(h.drop, at)
	}
	return ok
}

// parseFirst implements head.
func (h *answerHead) parseFirst(line []byte) bool {
	const version = "HTTP/1.1 "
	if !bytes.HasPrefix(line, []byte(version)) || len(line) < len(version)+4 || line[len(version)+3] != ' ' {
		return false
	}
	for _, c := range line {
		if c < ' ' || c > '~' {
			return false
		}
	}
	status, ok := parseDigits(line[len(version):len(version)+3], 3)
	h.status = int(status)
	switch h.status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusForbidden:
		return false // followed, or looked at as a denial
	}
	return ok && h.status >= http.StatusOK && h.status < 600
}

// answerLines are the lines of an answer so far that may come once only.
type answerLines struct {
	length, chunked, connection, kind, encoding bool
}

// read takes what a line says. It returns false where the answer is not plain.
func (h *answerHead) read(name, value []byte) (use lineUse, ok bool) {
	seen := &h.seen
	switch lower(name[0]) {
	case 'c':
		switch {
		case is(name, "content-length"):
			n, ok := parseDigits(value, 18) // less than an exabyte
			h.framing.left = n
			return kept, ok && once(&seen.length)
		case is(name, "connection"):
			h.close = is(value, "close")
			return dropped, once(&seen.connection) && (h.close || is(value, "keep-alive"))
		case is(name, "content-type"):
			h.json = hasPrefix(value, "application/json")
			return kept, once(&seen.kind)
		case is(name, "content-encoding"):
			return kept, once(&seen.encoding)
		}
	case 't':
		if is(name, "transfer-encoding") {
			h.framing.chunked = true
			return kept, once(&seen.chunked) && is(value, "chunked")
		}
	case 'k':
		if is(name, "keep-alive") {
			return dropped, true
		}
	}
	return kept, !special(name) && !is(name, "stepup-outcome")
}

// framed decides by what frames the body.
func (h *answerHead) framed() finding {
	seen := &h.seen
	noBody := h.status == http.StatusNoContent || h.status == http.StatusNotModified
	switch {
	case noBody && (seen.length || seen.chunked), seen.length && seen.chunked:
		return other
	case noBody:
		h.framing.left = 0
	case !seen.length && !seen.chunked:
		return other // ends with the connection
	}
	h.json = h.json && h.status/100 == 2
	if h.json && seen.encoding {
		return other // packed: the server behind looks into it
	}
	return plain
}

// compact takes the dropped lines out of b, which begins with the head.
func (h *answerHead) compact(b []byte) []byte {
	for i := len(h.drop) - 1; i >= 0; i-- {
		// What stands before a line moves over it: that is less than the body.
		length := h.drop[i].to - h.drop[i].from
		copy(b[length:], b[:h.drop[i].from])
		b = b[length:]
	}
	return b
}
