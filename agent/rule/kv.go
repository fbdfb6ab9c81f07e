package rule

import (
	"slices"
	"strings"
)

// kvPaths are what stands behind the mount of a KV store of version 2
// (vault-plugin-secrets-kv, backend.go, pathsSpecial; OpenBao has detailed-metadata). A
// store of version 1 has the secrets there.
func kvPaths() []string {
	return []string{"config", "data", "delete", "destroy", "detailed-metadata", "metadata", "subkeys", "undelete"}
}

// InKV2 is path as it is written for a KV store of version 2 at mount: kv/data/prod/* for
// kv/prod/*. path is a path or a pattern, and operations are as those of a [Rule]: a list
// is one of the metadata. ok is false where path may be one of such a store already,
// covers the whole store, or is none of this mount.
func InKV2(mount, path string, operations ...Operation) (written string, ok bool) {
	front, rest := strings.Split(strings.Trim(mount, "/"), "/"), strings.Split(strings.TrimLeft(path, "/"), "/")
	if mount == "" || len(rest) <= len(front) {
		return "", false
	}
	below := rest[len(front):]
	if !sameMount(front, rest[:len(front)]) || below[0] == "" || below[0] == "+" {
		return "", false
	}
	begins, prefix := strings.CutSuffix(below[0], "*")
	prefix = prefix && len(below) == 1
	if slices.ContainsFunc(kvPaths(), func(s string) bool { return s == below[0] || prefix && strings.HasPrefix(s, begins) }) {
		return "", false
	}
	kind := "data"
	if len(operations) > 0 && !slices.ContainsFunc(operations, func(op Operation) bool { return !op.lists() }) {
		kind = "metadata"
	}
	return strings.Join(slices.Concat(rest[:len(front)], []string{kind}, below), "/"), true
}

// MayLackData reports whether p may be a path that is written as for a KV store of version
// 1: nothing in it is a word of version 2, and it is none of Vault's own paths. Only the
// mount table knows better, which is asked about p.Literal.
func (p Pattern) MayLackData() bool {
	segments := strings.Split(p.text, "/")
	if p.Literal() == "" || !inEngine(p.text) {
		return false
	}
	for _, s := range segments[1:] {
		if slices.Contains(kvPaths(), s) {
			return false
		}
	}
	_, lacks := InKV2(segments[0], p.text)
	return lacks
}

// InEngine reports whether q is for a mounted secrets engine.
func (q Request) InEngine() bool { return inEngine(q.Path) }

// inEngine is false for the paths that every Vault has.
func inEngine(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !slices.Contains([]string{"auth", "cubbyhole", "identity", "sys"}, first)
}

// Literal is what the pattern begins with, up to its first segment that stands for others.
func (p Pattern) Literal() string {
	var literal []string
	for segment := range strings.SplitSeq(strings.TrimSuffix(p.text, "/"), "/") {
		if segment == "+" || strings.HasSuffix(segment, "*") {
			break
		}
		literal = append(literal, segment)
	}
	return strings.Join(literal, "/")
}

// MaybeInKV2 is the path that q has in a KV store of version 2, should its mount be one by
// its name; "" where q may be a path of one already.
func (q Request) MaybeInKV2() string {
	p, err := ParsePattern(q.Path)
	if err != nil || !p.MayLackData() || !NamedKV(q.Path) {
		return ""
	}
	mount, _, _ := strings.Cut(q.Path, "/")
	written, _ := InKV2(mount, q.Path, q.Operation)
	return written
}

// NamedKV reports whether the first segment of a path is what people call a KV store.
func NamedKV(path string) bool {
	mount, _, _ := strings.Cut(path, "/")
	words := strings.FieldsFunc(strings.ToLower(mount), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	return slices.ContainsFunc(words, func(s string) bool {
		return slices.Contains([]string{"kv", "kv2", "kvv2", "secret", "secrets"}, s)
	})
}
