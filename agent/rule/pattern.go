package rule

import (
	"errors"
	"slices"
	"strings"
)

// A Pattern is a path of a Vault policy: an exact path, a prefix that ends in
// "*", and "+" for exactly one segment (vault/policy.go, vault/acl.go).
type Pattern struct{ text string }

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
	case strings.Contains(text, "{{"):
		return Pattern{}, errors.New(`path contains a template ("{{"), which Vault fills in and stepup cannot: write + for that segment, or * for all from there on`)
	case strings.ContainsAny(text, "\x00\n\r"):
		return Pattern{}, errors.New("path contains a control character")
	}
	return Pattern{text}, nil
}

// String is the pattern as it was written, without leading slashes.
func (p Pattern) String() string { return p.text }

// Match reports whether a cleaned path, without /v1/, is meant.
func (p Pattern) Match(path string) bool {
	pattern, prefix := strings.CutSuffix(p.text, "*")
	for {
		want, patternRest, more := strings.Cut(pattern, "/")
		if prefix && !more {
			return strings.HasPrefix(path, want)
		}
		segment, pathRest, pathMore := strings.Cut(path, "/")
		if want != "+" && want != segment || more != pathMore {
			return false
		}
		if !more {
			return true
		}
		pattern, path = patternRest, pathRest
	}
}

// mountIs reports whether path is the mount that the pattern begins with: what stands
// before data or metadata, and where there is none of these, the first segment. Vault
// alone knows better; a folder in a mount must not be taken for one.
func (p Pattern) mountIs(path string) bool {
	mount := strings.Split(strings.TrimSuffix(p.text, "*"), "/")
	if len(mount) == 1 {
		return false // no mount alone
	}
	n := 1 + max(0, slices.IndexFunc(mount[1:], func(s string) bool { return s == "data" || s == "metadata" }))
	return sameMount(strings.Split(path, "/"), mount[:n])
}

// sameMount reports whether a mount is what a pattern begins with.
func sameMount(mount, pattern []string) bool {
	return slices.EqualFunc(mount, pattern, func(s, want string) bool { return want == "+" || s == want })
}

// Contains reports whether p matches every path that q matches.
func (p Pattern) Contains(q Pattern) bool {
	pattern, prefix := strings.CutSuffix(p.text, "*")
	inner, innerPrefix := strings.CutSuffix(q.text, "*")
	for {
		want, patternRest, more := strings.Cut(pattern, "/")
		have, innerRest, innerMore := strings.Cut(inner, "/")
		switch {
		case prefix && !more:
			// A "+" may be anything; a prefix of the rest is the whole rest.
			return want == "" || have != "+" && strings.HasPrefix(have, want)
		case innerPrefix && !innerMore, more != innerMore, want != "+" && want != have:
			return false
		case !more:
			return true
		}
		pattern, inner = patternRest, innerRest
	}
}

// HasInnerPlus reports whether a "+" stands for itself, because there is more in its segment.
func (p Pattern) HasInnerPlus() bool {
	return slices.ContainsFunc(strings.Split(p.text, "/"), func(s string) bool { return s != "+" && strings.Contains(s, "+") })
}

// Cleaned is the pattern as the paths of requests are: without empty segments, "." and ".."
// ([Derive]). A pattern that is not its own matches none of them.
func (p Pattern) Cleaned() string {
	whole, rest := p.text, ""
	if strings.HasSuffix(whole, "*") { // its last segment may become any
		at := strings.LastIndex(whole, "/") + 1
		whole, rest = whole[:at], whole[at:]
	}
	return strings.TrimPrefix(clean("/"+whole), "/") + rest
}
