package rule

import (
	"errors"
	"strings"
)

// A Pattern is a path of a Vault policy: an exact path, a prefix that ends in
// "*", and "+" for exactly one segment (vault/policy.go, vault/acl.go).
type Pattern struct {
	text     string
	prefix   bool
	segments []string // only when a segment is "+"
}

// ParsePattern reads a policy path. As in a policy, slashes at the start do not
// count, and "*" stands for something only at the end.
func ParsePattern(s string) (Pattern, error) {
	text := strings.TrimLeft(s, "/")
	switch {
	case text == "":
		return Pattern{}, errors.New("path is empty")
	case strings.HasPrefix(text, "v1/"):
		return Pattern{}, errors.New("path starts with v1/: write it as in a Vault policy, without it")
	case strings.Contains(text, "+*"):
		return Pattern{}, errors.New(`path contains "+*", which Vault refuses in a policy`)
	case strings.ContainsAny(text, "\x00\n\r"):
		return Pattern{}, errors.New("path contains a control character")
	}
	p := Pattern{text: text}
	body, prefix := strings.CutSuffix(text, "*")
	p.prefix = prefix
	for _, segment := range strings.Split(body, "/") {
		if segment == "+" {
			p.segments = strings.Split(body, "/")
			break
		}
	}
	return p, nil
}

// String is the pattern as it was written, without leading slashes.
func (p Pattern) String() string { return p.text }

// Match reports whether a cleaned path, without /v1/, is meant.
func (p Pattern) Match(path string) bool {
	body := strings.TrimSuffix(p.text, "*")
	if !p.prefix {
		body = p.text
	}
	if p.segments == nil {
		if p.prefix {
			return strings.HasPrefix(path, body)
		}
		return path == body
	}
	parts := strings.Split(path, "/")
	last := len(p.segments) - 1
	if len(parts) < len(p.segments) || (!p.prefix && len(parts) != len(p.segments)) {
		return false
	}
	for i, want := range p.segments {
		switch {
		case want == "+":
			// Any one segment.
		case i == last && p.prefix:
			if !strings.HasPrefix(parts[i], want) {
				return false
			}
		case parts[i] != want:
			return false
		}
	}
	return true
}
