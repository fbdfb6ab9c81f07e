// Package rule says which requests may be stepped up: Vault's policy path
// syntax, the capability that a request needs, and the namespace it is in. It
// does no I/O.
package rule

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// An Operation is a capability word of Vault's policies.
type Operation string

// The capabilities that a rule may name.
const (
	Create Operation = "create"
	Read   Operation = "read"
	Update Operation = "update"
	Patch  Operation = "patch"
	Delete Operation = "delete"
	List   Operation = "list"
	Scan   Operation = "scan" // OpenBao only: a list of everything below a path
)

// Operations lists every Operation, in the order of Vault's documentation.
func Operations() []Operation { return []Operation{Create, Read, Update, Patch, Delete, List, Scan} }

// A Request is what Vault makes of an HTTP request before it looks at policies.
type Request struct {
	Namespace string    // no slashes at its ends; "" is root
	Path      string    // cleaned and decoded, without /v1/; ends in "/" for List and Scan
	Operation Operation // a POST is Update, although Vault may ask for Create instead

	// ByQuery is a scan of a GET: Vault, which has none, takes it for a read.
	ByQuery bool
	// Slashed is one that was sent without the slash at its end: the read is of the path
	// without it.
	Slashed bool
}

// Derive tells what Vault would check for a request with this method, URL and
// X-Vault-Namespace (http/logical.go, buildLogicalRequestNoAuth). The URL is as it is
// sent, less the path of the server's address. A namespace in its path stays there:
// only [Rules.Match] and [Request.Login] know where one ends.
//
// ok is false for what has no capability of its own: paths outside /v1/, HEAD,
// OPTIONS, help, and methods Vault does not know. It is false, too, for a path that
// is unclean in the eyes of Vault's backends: no rule may speak for it.
func Derive(method string, u *url.URL, namespace string) (r Request, ok bool) {
	p, ok := apiPath(u)
	if !ok || !ReadAlike(namespace) {
		return Request{}, false
	}
	var query url.Values
	if u.RawQuery != "" {
		query = u.Query()
	}
	r = Request{Namespace: Namespace(namespace), Path: p, Operation: operation(method, query)}
	if r.Operation == "" || query.Get("help") != "" { // which is of any method (http/help.go)
		return Request{}, false
	}
	r.ByQuery = r.Operation == Scan && method == "GET"
	if r.Operation.lists() && !strings.HasSuffix(r.Path, "/") {
		r.Slashed = r.ByQuery
		r.Path += "/"
	}
	return r, true
}

// operation is what a method does, "" when that has no capability.
func operation(method string, query url.Values) Operation {
	is := func(name string) bool {
		if query == nil {
			return false
		}
		v, err := strconv.ParseBool(query.Get(name))
		return err == nil && v
	}
	switch method {
	case "GET":
		switch {
		case is("list"):
			return List
		case is("scan"):
			return Scan
		}
		return Read
	case "LIST":
		return List
	case "SCAN":
		return Scan
	case "POST", "PUT":
		return Update
	case "PATCH":
		return Patch
	case "DELETE":
		return Delete
	}
	return ""
}

// lists reports whether op is about everything below a path.
func (op Operation) lists() bool { return op == List || op == Scan }

// apiPath is the path of u as Vault's handlers see it, without /v1/: http.ServeMux
// cleans a path as it was sent, and only then is it decoded. So %2e%2e and %2f reach a
// backend as dots and slashes; such a path is refused.
//
// What has to be cleaned is redirected by the mux, which escapes each "%" once more on
// the way. That is another path then, and refused as well.
func apiPath(u *url.URL) (string, bool) {
	escaped, decoded, ok := sent(u)
	if !ok {
		return "", false
	}
	cleaned := clean(escaped)
	if cleaned != escaped {
		if strings.Contains(cleaned, "%") {
			return "", false
		}
		decoded = cleaned
	}
	// The mux takes %2f for no slash: /v1%2fx is not below /v1/.
	if !strings.HasPrefix(cleaned, "/v1/") || decoded != cleaned && clean(decoded) != decoded {
		return "", false
	}
	p := decoded[len("/v1/"):]
	return p, p != ""
}

// sent is the path of u in both forms, as the server reads them: one with a character
// that had to be escaped is escaped anew.
func sent(u *url.URL) (escaped, decoded string, ok bool) {
	if u.Opaque == "" {
		return u.EscapedPath(), u.Path, true
	}
	raw, _, _ := strings.Cut(u.Opaque, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil || !strings.HasPrefix(raw, "/") { // "a:v1/x" has no path, and nothing is at it
		return "", "", false
	}
	return (&url.URL{Path: decoded, RawPath: raw}).EscapedPath(), decoded, true
}

// clean is what http.ServeMux makes of a path.
func clean(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	c := path.Clean(p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// Grants reports whether Vault's answer of sys/capabilities-self allows q. A
// POST needs create or update, depending on what exists already. Root is not
// asked for a second factor, so its 403 means something else.
func (q Request) Grants(capabilities []string) bool {
	if slices.Contains(capabilities, "deny") {
		return false
	}
	return slices.ContainsFunc(capabilities, func(c string) bool {
		return c == string(q.Operation) || (q.Operation == Update && c == string(Create))
	})
}
