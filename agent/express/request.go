package express

import (
	"bytes"
	"strings"
)

const (
	// maxHead is the longest head of a request that is taken.
	maxHead = 16 << 10
	// maxRequest is the longest request, with its body.
	maxRequest = 32 << 10
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

// A requestHead is the head of a request, in the bytes that it was parsed from.
type requestHead struct {
	Request
	length   int // of the head
	body     int // Content-Length
	host     string
	hasVault bool   // X-Vault-Request: true, once
	keep     []span // the lines that are sent on
	tokens   []span // those among them with the token of the caller
}

// A span is a part of a head.
type span struct{ from, to int }

// parse reads the head at the beginning of b. What it calls plain can be read in one way
// only (RFC 9112): one Host, at most one Content-Length, no other framing, no folded line,
// no bare CR or LF, no blank before a colon. A request that two parsers read in two ways
// could carry another one past the guard, or past a rule.
func (h *requestHead) parse(b []byte) finding {
	*h = requestHead{keep: h.keep[:0], tokens: h.tokens[:0]}
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
	var seen seenLines
	for at, n := first+1, 0; at < end+2; n++ {
		eol := at + bytes.IndexByte(b[at:end+2], '\n')
		name, value, ok := cutLine(b[at : eol+1])
		if !ok || n == maxLines || !h.line(name, value, &seen) {
			return other
		}
		if !seen.dropped {
			h.keepLine(at, eol+1)
		}
		if seen.secret {
			h.tokens = append(h.tokens, span{at, eol + 1})
		}
		at = eol + 1
	}
	if !seen.host {
		return other
	}
	return plain
}

// keepLine has b[from:to] sent on.
func (h *requestHead) keepLine(from, to int) {
	if last := len(h.keep) - 1; last >= 0 && h.keep[last].to == from {
		h.keep[last].to = to
		return
	}
	h.keep = append(h.keep, span{from, to})
}

// parseFirst reads the first line of a request.
func (h *requestHead) parseFirst(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	if h.Method = knownMethod(method); h.Method == "" || string(version) != "HTTP/1.1" || !plainTarget(target) {
		return false
	}
	h.Target = string(target)
	return true
}

// knownMethod is one of the methods of Vault's API, "" for others. HEAD is not among
// them: its answer announces a body that does not come.
func knownMethod(b []byte) string {
	for _, m := range [...]string{"GET", "POST", "PUT", "LIST", "DELETE", "PATCH", "SCAN"} {
		if string(b) == m {
			return m
		}
	}
	return ""
}

// reads reports whether the request changes nothing.
func (h *requestHead) reads() bool {
	return h.Method == "GET" || h.Method == "LIST" || h.Method == "SCAN"
}

// plainTarget reports whether b is an absolute path, with a query or without, of no other
// characters than RFC 3986 has for one.
func plainTarget(b []byte) bool {
	if len(b) == 0 || b[0] != '/' || len(b) > 1 && b[1] == '/' {
		return false
	}
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '%':
			if i+2 >= len(b) || !isHex(b[i+1]) || !isHex(b[i+2]) {
				return false
			}
		case isAlphanumeric(c), strings.IndexByte("/-._~!$&'()*+,;=:@?", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// seenLines are the lines so far that may come once only.
type seenLines struct {
	host, length, token, authorization, namespace, vaultRequest, connection bool

	dropped bool // the last line is not sent on
	secret  bool // it has the token of the caller
}

// once notes a line and reports whether it is the first one.
func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}

// line reads a line of a request's head. It returns false for what is left to the server
// behind: a second line of a kind that is there once, another framing, what a browser
// adds, a second factor, a login on the way, an answer that Vault shall wrap.
func (h *requestHead) line(name, value []byte, seen *seenLines) (ok bool) {
	seen.dropped, seen.secret = false, false
	switch len(name) {
	case len("Host"):
		if is(name, "host") {
			h.host, seen.dropped = string(value), true
			return once(&seen.host) && plainHost(h.host)
		}
	case len("Content-Length"):
		if is(name, "content-length") {
			h.body, ok = parseLength(value)
			return ok && once(&seen.length)
		}
	case len("Connection"):
		if is(name, "connection") {
			seen.dropped = true
			return once(&seen.connection) && is(value, "keep-alive")
		}
	case len("X-Vault-Token"):
		if is(name, "x-vault-token") {
			h.Token, seen.secret = string(value), true
			return once(&seen.token)
		}
		if is(name, "authorization") {
			h.Authorization, seen.secret = string(value), true
			return once(&seen.authorization)
		}
	case len("X-Vault-Request"):
		if is(name, "x-vault-request") {
			h.hasVault = string(value) == "true"
			return once(&seen.vaultRequest)
		}
	case len("X-Vault-Namespace"):
		if is(name, "x-vault-namespace") {
			h.Namespace = string(value)
			return once(&seen.namespace) && len(value) > 0
		}
	}
	return !special(name)
}

// special reports whether a header is one that the server behind deals with: those of one
// connection (RFC 9110, 7.6.1), of browsers, and of factors.
func special(name []byte) bool {
	switch lower(name[0]) {
	case 'e':
		return is(name, "expect")
	case 'h':
		return is(name, "http2-settings")
	case 'k':
		return is(name, "keep-alive")
	case 'o':
		return is(name, "origin")
	case 'p':
		return hasPrefix(name, "proxy-")
	case 'r':
		return is(name, "referer")
	case 's':
		return hasPrefix(name, "sec-")
	case 't':
		return is(name, "te") || is(name, "trailer") || is(name, "transfer-encoding")
	case 'u':
		return is(name, "upgrade")
	case 'x':
		return is(name, "x-vault-mfa") || is(name, "x-vault-wrap-ttl") || hasPrefix(name, "x-vault-inline-auth")
	}
	return false
}

// appendTo writes the request that b begins with, as it goes to Vault: path and Host are
// Vault's, the token is that of the pass, everything else stands as it came.
func (h *requestHead) appendTo(to, b []byte, c *Config, pass Pass) []byte {
	to = append(to, h.Method...)
	to = append(to, ' ')
	to = append(to, c.Base...)
	to = append(to, h.Target...)
	to = append(to, " HTTP/1.1\r\nHost: "...)
	to = append(to, c.Host...)
	to = append(to, "\r\n"...)
	tokens := h.tokens
	if pass.Token == nil {
		tokens = nil
	}
	for _, s := range h.keep {
		for len(tokens) > 0 && tokens[0].from < s.to {
			to = append(to, b[s.from:tokens[0].from]...)
			s.from, tokens = tokens[0].to, tokens[1:]
		}
		to = append(to, b[s.from:s.to]...)
	}
	to = append(to, pass.Token...)
	if h.Namespace == "" && c.Namespace != "" {
		to = append(to, "X-Vault-Namespace: "...)
		to = append(to, c.Namespace...)
		to = append(to, "\r\n"...)
	}
	to = append(to, "\r\n"...)
	return append(to, b[h.length:h.length+h.body]...)
}
