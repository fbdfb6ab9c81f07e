package express

import (
	"bytes"
	"strings"
)

// maxRequest is the longest request that is taken, with its body.
const maxRequest = 32 << 10

// A Request is what a [Route] decides by. A line of its head stands once at most.
type Request struct {
	Method, Target string
	Body           int    // bytes, by its Content-Length
	Token          string // X-Vault-Token
	Authorization  string
	Namespace      string // X-Vault-Namespace; that of the route where the request has none
}

// Reads reports whether the request changes nothing.
func (q Request) Reads() bool { return q.Method == "GET" || q.Method == "LIST" || q.Method == "SCAN" }

// A requestHead is the head of a request, in the bytes that it was parsed from.
type requestHead struct {
	Request
	length   int // of the head
	host     string
	hasVault bool   // X-Vault-Request: true, once
	keep     []span // the lines that are sent on
	tokens   []span // those among them with the token of the caller
	seen     seenLines
}

// parse reads the head at the beginning of b. Besides the grammar, one Host, at most one
// Content-Length, and no other framing are plain. A request that two parsers read in two
// ways could carry another one past the guard, or past a rule.
func (h *requestHead) parse(b []byte) (f finding) {
	*h = requestHead{keep: h.keep[:0], tokens: h.tokens[:0]}
	if h.length, f = parseHead(b, h); f == plain && !h.seen.host {
		return other
	}
	return f
}

// parseLine implements head.
func (h *requestHead) parseLine(name, value []byte, at span) bool {
	use, ok := h.read(name, value)
	if ok && use != dropped {
		h.keepLine(at)
	}
	if ok && use == secret {
		h.tokens = append(h.tokens, at)
	}
	return ok
}

// keepLine has a line sent on.
func (h *requestHead) keepLine(at span) {
	if last := len(h.keep) - 1; last >= 0 && h.keep[last].to == at.from {
		h.keep[last].to = at.to
		return
	}
	h.keep = append(h.keep, at)
}

// parseFirst implements head.
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
}

// once notes a line and reports whether it is the first one.
func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}

// read takes what a line says. It returns false for what is left to the server behind: a
// second line of a kind that is there once, another framing, what a browser adds, a second
// factor, a login on the way, an answer that Vault shall wrap.
func (h *requestHead) read(name, value []byte) (use lineUse, ok bool) {
	seen := &h.seen
	switch len(name) {
	case len("Host"):
		if is(name, "host") {
			h.host = string(value)
			return dropped, once(&seen.host) && plainHost(h.host)
		}
	case len("Content-Length"):
		if is(name, "content-length") {
			n, ok := parseDigits(value, 9) // a longer body is not for us
			h.Body = int(n)
			return kept, ok && once(&seen.length)
		}
	case len("Connection"):
		if is(name, "connection") {
			return dropped, once(&seen.connection) && is(value, "keep-alive")
		}
	case len("X-Vault-Token"):
		if is(name, "x-vault-token") {
			h.Token = string(value)
			return secret, once(&seen.token)
		}
		if is(name, "authorization") {
			h.Authorization = string(value)
			return secret, once(&seen.authorization)
		}
	case len("X-Vault-Request"):
		if is(name, "x-vault-request") {
			h.hasVault = string(value) == "true"
			return kept, once(&seen.vaultRequest)
		}
	case len("X-Vault-Namespace"):
		if is(name, "x-vault-namespace") {
			h.Namespace = string(value)
			return kept, once(&seen.namespace) && len(value) > 0
		}
	}
	return kept, !special(name)
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
	return append(to, b[h.length:h.length+h.Body]...)
}
