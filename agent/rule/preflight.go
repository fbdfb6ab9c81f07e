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
// login grant take part.
//
// A look at a path is a look for it: where [Rules.Match] has a rule for one of the
// paths that it may stand for, it is that rule's. A look at the mount alone, as with
// -mount=kv, may be for any path there. So it asks for no code; it is served with a
// token that is there, see [Match].
func (rs Rules) MatchPreflight(q Request) (Match, bool) { return rs.matchPreflightBy(rs.find, q) }

func (rs Rules) matchPreflightBy(find finder, q Request) (Match, bool) {
	before, asked, ok := strings.Cut(q.Path, mountsPath)
	asked = strings.TrimSuffix(asked, "/")
	if !ok || asked == "" || q.Operation != Read || (before != "" && !strings.HasSuffix(before, "/")) {
		return Match{}, false
	}
	look := preflight{namespace: q.Namespace, before: before, asked: asked, paths: spellings(asked, 1)}
	if i, in, ok := look.first(rs, find); ok {
		return Match{Rule: &rs[i], Request: in, Preflight: true}, true
	}
	var kept []Match
	for i := range rs {
		in, ok := look.under(&rs[i])
		if ok && slices.ContainsFunc(rs[i].Paths, func(p Pattern) bool { return p.mountIs(in.Path) }) {
			kept = append(kept, Match{Rule: &rs[i], Request: in, Preflight: true})
		}
	}
	if kept == nil {
		return Match{}, false
	}
	return Match{Rule: kept[0].Rule, Request: kept[0].Request, Preflight: true, Kept: kept}, true
}

// A preflight is a look at a mount.
type preflight struct {
	namespace string
	before    string // of sys/internal/ui/mounts: "", or the segments of a namespace with a slash
	asked     string // the path as it was typed
	paths     []spelling
}

// request is a request for a path that p may stand for. What stands before sys stands
// before that, too.
func (p preflight) request(path string, op Operation) Request {
	return Request{Namespace: p.namespace, Path: p.before + path, Operation: op}
}

// under is the path that was typed, as r sees it. Where something stands before sys, r
// has to name a namespace that begins with it: otherwise it is a path of some backend.
func (p preflight) under(r *Rule) (Request, bool) {
	if !r.Grant.Mints() {
		return Request{}, false
	}
	if p.before != "" {
		context := strings.Trim(p.namespace+"/"+p.before, "/")
		if !strings.HasPrefix(Namespace(r.Namespace)+"/", context+"/") {
			return Request{}, false
		}
	}
	return r.view(p.request(p.asked, Read))
}

// first finds the first rule that takes a request, of any operation, for one of the
// paths.
func (p preflight) first(rs Rules, find finder) (best int, in Request, ok bool) {
	best = len(rs)
	for _, s := range p.paths {
		for _, op := range Operations() {
			q := p.request(s.path, op)
			if q.Operation.lists() {
				if !s.lists {
					continue
				}
				q.Path += "/"
			}
			i, _ := find(q)
			if i >= best {
				continue
			}
			if typed, under := p.under(&rs[i]); under {
				best, in, ok = i, typed, true
			}
		}
	}
	return best, in, ok
}

// maxMount is more segments than the path of any mount has.
const maxMount = 16

// A spelling is an API path that a typed path may stand for.
type spelling struct {
	path  string
	lists bool // as a folder: secrets are listed in their metadata
}

// IsLookAt reports whether a look at the path asked is one that `vault kv` takes before a
// request for path.
func IsLookAt(asked, path string) bool {
	path = strings.TrimSuffix(path, "/")
	return slices.ContainsFunc(spellings(asked, 1), func(s spelling) bool { return s.path == path })
}

// spellings are those of a typed path: itself, and with data or metadata behind its
// mount. How long that is, is not known yet; at least rest segments are behind it.
func spellings(path string, rest int) []spelling {
	all := []spelling{{path: path}}
	segments := strings.Split(path, "/")
	for i := 1; i <= min(len(segments)-rest, maxMount); i++ {
		for _, kind := range []string{"data", "metadata"} {
			all = append(all, spelling{strings.Join(slices.Insert(slices.Clone(segments), i, kind), "/"), kind == "metadata"})
		}
	}
	return all
}
