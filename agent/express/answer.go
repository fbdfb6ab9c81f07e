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
}

// parse reads the head at the beginning of b. What it calls plain is an answer that is
// handed on as it is, but for what holds for one connection only. A redirect, a 403, an
// interim answer and what has no length are not plain.
func (h *answerHead) parse(b []byte) finding {
	*h = answerHead{drop: h.drop[:0], framing: framing{left: -1}}
	end := bytes.Index(b[:min(len(b), maxHead)], []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) >= maxHead {
			return other
		}
		return incomplete
	}
	h.length = end + 4
	first := bytes.IndexByte(b, '\n')
	if first < 1 || b[first-1] != '\r' || !h.parseFirst(b[:first-1]) {
		return other
	}
	var seen answerLines
	for at, n := first+1, 0; at < end+2; n++ {
		eol := at + bytes.IndexByte(b[at:end+2], '\n')
		name, value, ok := cutLine(b[at : eol+1])
		if !ok || n == maxLines || !h.line(name, value, &seen) {
			return other
		}
		if seen.dropped {
			h.drop = append(h.drop, span{at, eol + 1})
		}
		at = eol + 1
	}
	return h.framed(seen)
}

// parseFirst reads the first line of an answer.
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
	status, ok := parseLength(line[len(version) : len(version)+3])
	h.status = status
	switch status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusForbidden:
		return false // followed, or looked at as a denial
	}
	return ok && status >= http.StatusOK && status < 600
}

// answerLines are the lines of an answer so far that may come once only.
type answerLines struct {
	length, chunked, connection, kind, encoding bool

	dropped bool // the last line is not handed on
}

func (h *answerHead) line(name, value []byte, seen *answerLines) bool {
	seen.dropped = false
	switch lower(name[0]) {
	case 'c':
		switch {
		case is(name, "content-length"):
			n, ok := parseBodyLength(value)
			h.framing.left = n
			return ok && once(&seen.length)
		case is(name, "connection"):
			h.close, seen.dropped = is(value, "close"), true
			return once(&seen.connection) && (h.close || is(value, "keep-alive"))
		case is(name, "content-type"):
			h.json = hasPrefix(value, "application/json")
			return once(&seen.kind)
		case is(name, "content-encoding"):
			return once(&seen.encoding)
		}
	case 't':
		if is(name, "transfer-encoding") {
			h.framing.chunked = true
			return once(&seen.chunked) && is(value, "chunked")
		}
	case 'k':
		if is(name, "keep-alive") {
			seen.dropped = true
			return true
		}
	}
	return !special(name) && !is(name, "stepup-outcome")
}

// framed decides by what frames the body.
func (h *answerHead) framed(seen answerLines) finding {
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

// parseBodyLength reads a Content-Length of digits, of less than an exabyte.
func parseBodyLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
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
