package rule

import (
	"slices"
	"strings"
)

// mountsPath is what `vault kv` reads before a secret, to learn the version of
// the store: sys/internal/ui/mounts/ and the path as the person typed it, which
// has no data/ in it (command/kv_helpers.go, kvPreflightVersionRequest).
const mountsPath = "sys/internal/ui/mounts/"

// MatchPreflight finds the rule whose token serves such a request: Vault answers
// it only to tokens that may do something on that path, so the base token may
// get a 403 before the secret is even asked for. Only rules with a token or
// login grant take part. A rule for the very path wins over one that lies below
// it, for a person may give the mount alone (-mount=kv).
func (rs Rules) MatchPreflight(q Request) (Match, bool) {
	before, path, ok := strings.Cut(q.Path, mountsPath)
	if !ok || q.Operation != Read || (before != "" && !strings.HasSuffix(before, "/")) {
		return Match{}, false
	}
	namespace := Namespace(strings.Trim(q.Namespace, "/") + "/" + before)
	candidates := spellings(strings.Trim(path, "/"))
	for _, fits := range []func(Pattern, string) bool{Pattern.Match, Pattern.below} {
		for i := range rs {
			r := &rs[i]
			if !r.Grant.Mints() || (r.Namespace != "" && Namespace(r.Namespace) != namespace) {
				continue
			}
			for _, p := range r.Paths {
				if slices.ContainsFunc(candidates, func(c string) bool { return fits(p, c) }) {
					return Match{Rule: r, Request: Request{Namespace: q.Namespace, Path: strings.Trim(path, "/"), Operation: Read}}, true
				}
			}
		}
	}
	return Match{}, false
}

// spellings are the API paths that a typed path may stand for: itself, and with
// data or metadata behind its mount, whose length nobody has told us yet.
func spellings(path string) []string {
	all := []string{path}
	segments := strings.Split(path, "/")
	for i := 1; i <= len(segments); i++ {
		for _, kind := range []string{"data", "metadata"} {
			all = append(all, strings.Join(slices.Insert(slices.Clone(segments), i, kind), "/"))
		}
	}
	return all
}

// below reports whether the pattern lies below path.
func (p Pattern) below(path string) bool {
	own := strings.Split(strings.TrimSuffix(p.text, "*"), "/")
	segments := strings.Split(path, "/")
	if path == "" || len(segments) >= len(own) {
		return false
	}
	for i, s := range segments {
		if own[i] != "+" && own[i] != s {
			return false
		}
	}
	return true
}
