package rule

import (
	"errors"
	"net/url"
	"strings"
)

// A Reason is why a rule takes a request, or does not.
type Reason string

// The reasons of [Rules.Explain].
const (
	Matches        Reason = "matches"      // it is taken
	Shadowed       Reason = "shadowed"     // it would be taken, but an earlier rule is
	OtherPath      Reason = "path"         // none of its paths
	OtherNamespace Reason = "namespace"    // one of its paths, in another namespace
	OtherOperation Reason = "capabilities" // one of its paths, for other operations
)

// An Explained is a rule with its reason.
type Explained struct {
	Rule *Rule
	Why  Reason
}

// Explain tells about every rule, in file order, what it has to do with q. At most
// one matches, and it is the one that [Rules.Match] finds.
func (rs Rules) Explain(q Request) []Explained {
	all := make([]Explained, 0, len(rs))
	taken := false
	for i := range rs {
		why := rs[i].why(q)
		if why == Matches && taken {
			why = Shadowed
		}
		taken = taken || why == Matches
		all = append(all, Explained{&rs[i], why})
	}
	return all
}

// why is the reason of one rule alone: the nearest miss counts.
func (r *Rule) why(q Request) Reason {
	in, ok := r.view(q)
	switch {
	case !ok && r.takes(q):
		return OtherNamespace
	case !ok || !r.takes(in):
		return OtherPath
	case !r.covers(q.Operation):
		return OtherOperation
	}
	return Matches
}

// Nearby is a path that a person may have meant: `vault kv get kv/x` reads
// kv/data/x, and that is what rules name. "" means that there is none with a rule.
func (rs Rules) Nearby(q Request) string {
	for _, s := range spellings(strings.Trim(q.Path, "/"), 0) {
		near := Request{Namespace: q.Namespace, Path: s.path, Operation: q.Operation}
		if near.Operation.lists() {
			near.Path += "/"
		}
		if _, ok := rs.Match(near); ok {
			return near.Path
		}
	}
	return ""
}

// errNoPath is a text that names no path of Vault's API.
var errNoPath = errors.New("this is no path of Vault's API")

// Typed is the request that a person means by a path, with or without /v1/ in
// front, and a capability word; "create" is what a POST may turn out to be, so it
// means "update".
func Typed(path, operation, namespace string) (Request, error) {
	methods := map[Operation]string{
		Read: "GET", List: "LIST", Scan: "SCAN", Create: "POST", Update: "POST", Patch: "PATCH", Delete: "DELETE",
	}
	path = strings.TrimPrefix(strings.TrimLeft(path, "/"), "v1/")
	// Cleaned here, because it is typed and not sent.
	q, ok := Derive(methods[Operation(operation)], &url.URL{Path: clean("/v1/" + path)}, namespace)
	if !ok || path == "" {
		return Request{}, errNoPath
	}
	return q, nil
}
